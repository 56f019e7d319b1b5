"""A data set as a run uses it: opened, perhaps a part of it only, with what its samples go through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from base.config.fields import Component
from base.protocols import SetFacts
from data_loader.dataset_facts import targets_of
from data_loader.sample_parts import Places, get_part
from data_loader.samples import Samples
from utils.batches import bounds


@dataclass
class OpenedSet:
    """`label` is train, valid, valid_<name>, test or test_<name>; `tensors` the whole set, if it is held as such;
    `members`, int64 indices, the part of it that is meant, None for all."""

    label: str
    component: Component
    dataset: Any
    tensors: tuple[Tensor, ...] | None
    members: Tensor | None = None
    loader: DataLoader[Any] | None = None
    """That of the project, if it makes the batches itself."""
    samples: Samples | None = None
    """Set once the transforms are built."""
    first: str = ""
    """The first sample's input in words, as it is read: `1x28x28 uint8`."""

    @property
    def name(self) -> str:
        return f"{self.component.type} ({self.label})"

    @property
    def streamed(self) -> bool:
        return isinstance(self.dataset, IterableDataset)

    def indices(self) -> Tensor:
        return torch.arange(len(self.dataset)) if self.members is None else self.members

    def facts(self, places: Places) -> SetFacts:
        """What is known without reading from a disk: a few milliseconds for 60,000 images in memory."""
        known = bounds(self.tensors[places.of_input(self.tensors)]) if self.tensors is not None else None
        low, high = known or (None, None)
        return SetFacts(type(self.dataset).__name__, self.first, low, high, self.class_counts(places))

    def class_counts(self, places: Places) -> tuple[int, ...]:
        """Samples of each class; empty where only reading every sample would tell, or targets are no classes."""
        known = self.tensors is not None or getattr(self.dataset, "targets", None) is not None
        if self.streamed or not known:
            return ()
        try:
            targets = targets_of(self.dataset, self.tensors, places)[self.indices()]
        except (ValueError, TypeError, RuntimeError, LookupError):
            return ()  # a set without targets, or with others than class numbers
        if not len(targets) or int(targets.min()) < 0 or int(targets.max()) >= max(1000, len(targets)):
            return ()
        classes = getattr(self.dataset, "classes", None)
        return tuple(torch.bincount(targets, minlength=len(classes) if classes is not None else 0).tolist())


def in_words(sample: Any, places: Places) -> str:
    """A sample's input: `1x28x28 uint8`, `RGB image of 640x480`, `str`."""
    try:
        value = get_part(sample, places.of_input(sample))
    except ValueError:
        value = sample
    if hasattr(value, "getbands"):
        return f"{value.mode} image of {value.width}x{value.height}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{'x'.join(map(str, value.shape)) or 'number'} {str(value.dtype).removeprefix('torch.')}"
    return type(value).__name__
