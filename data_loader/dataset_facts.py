"""What a data set can tell about itself: its tensors, its classes, its fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from base.errors import DataError
from data_loader.sample_parts import Places, get_part
from utils.seed import foreign


class Facts(Mapping[str, Any]):
    """Values by name, each calculated when first asked for."""

    def __init__(self, sources: Mapping[str, Callable[[], Any]]) -> None:
        self._sources, self.known = dict(sources), dict[str, Any]()
        """Those that have been asked for."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.known:
            self.known[name] = self._sources[name]()
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


def tensors_of(dataset: Any) -> tuple[Tensor, ...] | None:
    """The whole data set as tensors aligned on dimension 0, or None if it does not offer that. DataError if it offers
    something else."""
    if getattr(dataset, "as_tensors", None) is not None:
        offered = dataset.as_tensors()
        tensors = (offered,) if isinstance(offered, Tensor) else tuple(offered)
        for other in (one for one in tensors if not isinstance(one, Tensor)):
            what = f"{type(dataset).__name__}.as_tensors: expected tensors, found {type(other).__name__}"
            raise DataError(f"{what}; torch.as_tensor makes one of an array or a list")
    elif isinstance(dataset, TensorDataset):
        tensors = dataset.tensors
    else:
        return _torchvision_tensors(dataset)
    if len({len(tensor) for tensor in tensors}) != 1:
        lengths = ", ".join(str(len(tensor)) for tensor in tensors)
        raise DataError(f"{type(dataset).__name__}: expected tensors of one length, found {lengths}")
    return tensors


def _torchvision_tensors(dataset: Any) -> tuple[Tensor, ...] | None:
    """Of those of torchvision's data sets that hold all images as one array and that none of ours stands in for."""
    kind = type(dataset)
    if kind.__module__ == "torchvision.datasets.mnist" and kind.__name__ in ("MNIST", "KMNIST", "EMNIST"):
        return dataset.data.unsqueeze(1), dataset.targets.long()
    return None


def targets_of(dataset: Any, tensors: tuple[Tensor, ...] | None, places: Places) -> Tensor:
    """The class number of every sample, int64 (N,): what the data set offers, else found by reading all of it.

    `tensors` are those of `tensors_of`. DataError if the targets are not class numbers.
    """
    if tensors is not None:
        targets: Any = tensors[places.of_target(tensors)]
    elif getattr(dataset, "targets", None) is not None:
        targets = dataset.targets
    else:
        with foreign():
            samples: Iterator[Any] = (dataset[index] for index in range(len(dataset)))
            targets = [get_part(sample, places.of_target(sample)) for sample in samples]
    classes = torch.as_tensor(targets)
    if classes.dim() != 1 or classes.is_floating_point():
        found = f"{classes.dtype} of shape {tuple(classes.shape)}"
        raise DataError(f"{type(dataset).__name__}: expected class numbers as targets, found {found}")
    return classes.long()


def fingerprint(size: int, samples: Any) -> str:
    """The number of samples and a hash of some of them, at any depth of tensors, arrays, images and plain values."""
    digest = hashlib.sha256()
    add_to_hash(digest, samples)
    return f"{size}:{digest.hexdigest()[:16]}"


def add_to_hash(digest: Any, value: Any) -> None:
    if isinstance(value, Mapping):
        add_to_hash(digest, list(value.items()))
    elif isinstance(value, tuple | list):
        for item in value:
            add_to_hash(digest, item)
    elif isinstance(value, Tensor):
        add_to_hash(digest, value.numpy(force=True))
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif hasattr(value, "tobytes"):  # an image of PIL, whose repr holds its address
        digest.update(value.tobytes())
    else:
        digest.update(repr(value).encode())
