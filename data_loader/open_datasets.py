"""Opens the datasets that a config names: splits, facts, and synthetic substitutes."""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from base.config.arguments import build
from base.config.fields import Component
from base.config.keys import DataConfig
from base.discovery import users_frames
from base.errors import ConfigError, DataError, Fault, MissingFiles, Origin, UserError, listing
from base.protocols import HasClasses, HasTargets, HasTensors, SetFacts, SplitsTest
from base.registry import DATASETS
from data_loader.image_datasets import FashionMNIST
from data_loader.samples import Samples
from utils.batches import SampleKeys
from utils.device import bounds
from utils.seed import fold_in, isolated_rng


class DatasetFacts(Mapping[str, Any]):
    """Values by name, each calculated when first asked for."""

    def __init__(self, sources: Mapping[str, Callable[[], Any]]) -> None:
        self._sources, self.known = dict(sources), dict[str, Any]()
        """The values calculated so far."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.known:
            self.known[name] = self._sources[name]()
        return self.known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)


_TORCHVISION = ("MNIST", "KMNIST", "EMNIST")
"""Datasets of torchvision that hold all images as one array. Ours stand in for FashionMNIST."""


def tensors_of(dataset: Any) -> tuple[Tensor, ...] | None:
    """The whole dataset as tensors aligned on dimension 0; None if it does not offer them. DataError if what it offers
    is something else."""
    if isinstance(dataset, HasTensors):
        offered = dataset.as_tensors()
        tensors = (offered,) if isinstance(offered, Tensor) else tuple(offered)
        for other in (one for one in tensors if not isinstance(one, Tensor)):
            what = f"{type(dataset).__name__}.as_tensors: expected tensors, found {type(other).__name__}"
            raise DataError(f"{what}; torch.as_tensor makes one of an array or a list")
    elif isinstance(dataset, TensorDataset):
        tensors = dataset.tensors
    elif type(dataset).__module__ == "torchvision.datasets.mnist" and type(dataset).__name__ in _TORCHVISION:
        return dataset.data.unsqueeze(1), dataset.targets.long()
    else:
        return None
    if len({len(tensor) for tensor in tensors}) != 1:
        lengths = ", ".join(str(len(tensor)) for tensor in tensors)
        raise DataError(f"{type(dataset).__name__}: expected tensors of one length, found {lengths}")
    return tensors


class LabelNumbers:
    """Numbers labels that are texts, in the order of `names`."""

    __name__ = "labels"  # as messages call it among the transforms

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._numbers = {name: number for number, name in enumerate(names)}

    def __call__(self, label: Any) -> int:
        """ValueError for a label that the training data has not."""
        if label not in self._numbers:
            raise ValueError(f"the training data has no label {label!r}; it has {listing(self.names, 'and')}")
        return self._numbers[label]


def all_targets(dataset: Any, tensors: tuple[Tensor, ...] | None, places: SampleKeys) -> Any:
    """The target of every sample: as the dataset offers them, else by reading all of it."""
    if tensors is not None:
        return places.part("target", tensors)
    if isinstance(dataset, HasTargets) and dataset.targets is not None:
        return dataset.targets
    with isolated_rng():
        samples: Iterator[Any] = (dataset[index] for index in range(len(dataset)))
        return [places.part("target", sample) for sample in samples]


def targets_of(
    dataset: Any, tensors: tuple[Tensor, ...] | None, places: SampleKeys, labels: LabelNumbers | None = None
) -> Tensor:
    """The class number of every sample, int64 (N,).

    `tensors` are those of `tensors_of`. DataError if the targets are not class numbers, or texts that `labels` numbers.
    """
    targets = all_targets(dataset, tensors, places)
    if labels is not None:
        targets = [labels(target) if isinstance(target, str) else target for target in targets]
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


def split_indices(
    size: int, shares: Mapping[str, float | int], seed: int, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Disjoint parts of 0 ... size - 1 by name, and what is left as `train`: int64, ascending.

    A share below 1 is a fraction of `size` (at least one sample), else a count. With `labels` (int64, (size,)) each
    part gets every class's samples in proportion, to within one. ValueError if nothing is left.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(fold_in(seed)))
    if labels is not None:
        # Sorted by each sample's rank within its class, so that every stretch has each class in proportion.
        by_class = labels[order].argsort(stable=True)
        counts = torch.unique(labels, return_counts=True)[1]
        ranks = torch.cat([(torch.arange(int(n), dtype=torch.float64) + 0.5) / n for n in counts])
        order = order[torch.empty_like(ranks).index_copy_(0, by_class, ranks).argsort(stable=True)]
    parts, taken = {}, 0
    for name, share in shares.items():
        count = max(1, round(share * size)) if isinstance(share, float) else share
        parts[name] = order[taken : taken + count].sort().values
        taken += count
    if taken >= size:
        raise ValueError(f"{taken} of {size} samples are set aside, which leaves none to train on")
    return {"train": order[taken:].sort().values, **parts}


@dataclass
class DatasetSplit:
    """A dataset, or the part of it at `members` (int64 indices; None: all), under a label.

    `label` is train, valid, valid_<name>, test or test_<name>. `tensors` is the whole dataset, if it is held as such.
    """

    label: str
    component: Component
    dataset: Any
    tensors: tuple[Tensor, ...] | None
    members: Tensor | None = None
    loader: DataLoader[Any] | None = None
    """The project's own loader, if that makes the batches."""
    samples: Samples | None = None
    """Set once the transforms are built."""
    labels: LabelNumbers | None = None
    """Where the labels are texts."""
    first: str = ""
    """The first sample's input before transforms: `1x28x28 uint8`."""

    @property
    def name(self) -> str:
        return f"{self.component.type} ({self.label})"

    @property
    def streamed(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def indices(self) -> Tensor:
        return torch.arange(len(self.dataset)) if self.members is None else self.members

    def facts(self, places: SampleKeys) -> SetFacts:
        """What is known without reading from a disk: a few milliseconds for 60,000 images in memory."""
        known = bounds(places.part("input", self.tensors)) if self.tensors is not None else None
        low, high = known or (None, None)
        return SetFacts(type(self.dataset).__name__, self.first, low, high, self.class_counts(places))

    def class_counts(self, places: SampleKeys) -> tuple[int, ...]:
        """Samples of each class; empty if that takes reading every sample, or if targets are no classes."""
        has_targets = isinstance(self.dataset, HasTargets) and self.dataset.targets is not None
        if self.streamed or (self.tensors is None and not has_targets):
            return ()
        try:
            targets = targets_of(self.dataset, self.tensors, places, self.labels)[self.indices()]
        except (ValueError, TypeError, RuntimeError, LookupError):
            return ()  # no targets, or not class numbers
        if not len(targets) or int(targets.min()) < 0 or int(targets.max()) >= max(1000, len(targets)):
            return ()
        return tuple(torch.bincount(targets, minlength=len(self.class_names)).tolist())

    @property
    def class_names(self) -> Sequence[Any]:
        """In the order of the class numbers; empty if they have no names."""
        if self.labels is not None:
            return self.labels.names
        return (self.dataset.classes if isinstance(self.dataset, HasClasses) else None) or ()


def describe_input(sample: Any, places: SampleKeys) -> str:
    """A sample's input: `1x28x28 uint8`, `RGB image of 640x480`, `str`."""
    try:
        value = places.part("input", sample)
    except ValueError:
        value = sample
    if hasattr(value, "getbands"):
        return f"{value.mode} image of {value.width}x{value.height}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{'x'.join(map(str, value.shape)) or 'number'} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__


log = logging.getLogger(__name__)
REAL, SYNTHETIC = "real", "synthetic"
SPLIT = "split"
"""A part that the training data's loader sets aside itself."""
_WHOLE_IN_ORDER = {"shuffle": False, "validation_split": 0.0}
"""Arguments of a loader of test data."""


def test_components(data: DataConfig) -> dict[str, Component | str]:
    """The test sets by name. `auto` is the training set's class with `train: false`, `training: false` or `part: test`,
    if it takes that and is not that already. A loader with `split_test` gives SPLIT."""
    if data.test != "auto":
        return {**data.test_sets}
    if isinstance(DATASETS.get(data.train.type), SplitsTest):
        return {"": SPLIT}
    parameters, args = inspect.signature(DATASETS.get(data.train.type)).parameters, data.train.args
    if "train" in parameters and args.get("train") is not False:
        other: dict[str, Any] = {"train": False}
    elif "training" in parameters and args.get("training") is not False:
        other = {"training": False}
        other |= {name: value for name, value in _WHOLE_IN_ORDER.items() if name in parameters}
    elif "part" in parameters and args.get("part", parameters["part"].default) == "train":
        other = {"part": "test"}
    else:
        return {}
    return {"": data.train.model_copy(update={"args": {**args, **other}})}


def open_sets(
    components: Mapping[str, Component], offline: str, kept: str | None = None, resumed: bool = False
) -> tuple[dict[str, Any], str]:
    """The datasets by label, and whether they are "real" or "synthetic".

    The choice is the same for all datasets: if the files of one are missing and cannot be downloaded, and `offline`
    allows it, SyntheticFashion replaces every FashionMNIST. `kept` is the choice of the run that is `resumed`.
    DataError if files are missing and may not be replaced.
    """
    why = "as the run began"
    if resumed:
        components = {label: _only_read(component) for label, component in components.items()}
    if kept != SYNTHETIC or not any(_has_stand_in(component) for component in components.values()):
        try:
            datasets = {label: _open(label, component) for label, component in components.items()}
            synthetic = any(component.type == "SyntheticFashion" for component in components.values())
            return datasets, SYNTHETIC if synthetic else REAL
        except MissingFiles as missing:
            if offline != SYNTHETIC:
                hint = ", or set data.offline: synthetic to go without" * all(map(_has_stand_in, components.values()))
                raise DataError(f"{missing}{hint}") from missing
            if kept == REAL:
                raise DataError(f"{missing}; the run began on the real data and goes on with nothing else") from missing
            why = str(missing)
    stand_ins = {label: _stand_in(component, why) for label, component in components.items()}
    if resumed:
        stand_ins = {label: _only_read(component) for label, component in stand_ins.items()}
    log.warning("SYNTHETIC DATA: SyntheticFashion stands in for FashionMNIST, scores mean nothing for it (%s)", why)
    return {label: _open(label, component) for label, component in stand_ins.items()}, SYNTHETIC


def _only_read(component: Component) -> Component:
    """For a run that is resumed or tested and may be a stranger's: nothing is created in the folders that it names."""
    args = dict(component.args)
    if "download" in inspect.signature(DATASETS.get(component.type)).parameters:
        args["download"] = False
    if component.type == "SyntheticFashion" and not (Path(args.get("root") or ".") / "SyntheticFashion").is_dir():
        args.pop("root", None)
    return component.model_copy(update={"args": args})


def _has_stand_in(component: Component) -> bool:
    return DATASETS.get(component.type) is FashionMNIST


def _stand_in(component: Component, why: str) -> Component:
    if component.type == "SyntheticFashion":
        return component
    if not _has_stand_in(component):
        raise DataError(f"nothing stands in for {component.type} as SyntheticFashion does for FashionMNIST ({why})")
    args = {name: value for name, value in component.args.items() if name in ("root", "train")}
    return Component(type="SyntheticFashion", args=args)


def _open(label: str, component: Component) -> Any:
    target = DATASETS.get(component.type)
    parameters, supplied = inspect.signature(target).parameters, DATASETS.supplied_to(target)
    required = {name: None for name, p in parameters.items() if name in supplied and p.default is p.empty}
    try:
        dataset = build(DATASETS, component, **required)
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        raise DataError(f"{component.type} (data.{label}) cannot be opened: {type(error).__name__}: {error}") from error
    except (TypeError, ValueError) as error:
        if users_frames(error):
            raise
        key = f"data.{label.replace('_', '.', 1)}"
        found = f"{component.type} refuses this: {type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError([Fault(Origin("the config"), key, found)]) from error
    if not hasattr(dataset, "__iter__" if isinstance(dataset, IterableDataset | DataLoader) else "__getitem__"):
        needs = "it needs __len__ and __getitem__, or to be an IterableDataset with __iter__"
        raise DataError(f"{component.type} (data.{label}) is no dataset: {needs}")
    return dataset
