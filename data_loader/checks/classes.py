"""Class numbers mean the same in the training, validation and test sets: classes are compared by name."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from base.errors import ConfigError, Fault, Origin, listing
from base.protocols import HasClasses, NumbersClasses
from data_loader.open_datasets import DatasetSplit, tensors_of
from utils.formatting import pluralize

log = logging.getLogger(__name__)


def names_of(dataset: Any) -> list[str]:
    """The names of its classes in the order of their numbers; empty if it has none."""
    classes = dataset.classes if isinstance(dataset, HasClasses) else None
    return [] if classes is None else [str(name) for name in classes]


def align_classes(sets: Mapping[str, DatasetSplit]) -> None:
    """Gives all sets the numbers that the training set's classes have. ConfigError for a class that the training set
    lacks, and for a dataset whose numbers nobody can change."""
    train = sets["train"]
    names = names_of(train.dataset)
    faults = [fault for one in sets.values() if (fault := _aligned(one, train, names)) is not None]
    if faults:
        raise ConfigError(faults)
    for message in _lacking(train, names):
        log.warning("%s", message)


def _aligned(one: DatasetSplit, train: DatasetSplit, names: list[str]) -> Fault | None:
    own = names_of(one.dataset)
    if one.dataset is train.dataset or not names or not own or own == names:
        return None
    key = f"data.{one.label.replace('_', '.', 1)}"
    found = f"{listing(own, 'and')} in {one.name}; {listing(names, 'and')} in {train.name}"
    if unknown := [name for name in own if name not in names]:
        what = f"the training data has no class {listing(unknown)}"
        hint = "remove these samples, or add some to the training data"
        return Fault(Origin("the config"), key, what, found, "classes of the training data alone", hint)
    if not _renumber(one.dataset, own, names):
        what = "class numbers mean other classes than in the training data"
        hint = (
            f"give {type(one.dataset).__name__} a method number_classes(names) that numbers its targets in that order"
        )
        return Fault(Origin("the config"), key, what, found, "the same classes in the same order", hint)
    one.tensors = tensors_of(one.dataset)
    log.info("%s: its classes are numbered as in the training data (%s)", one.name, listing(names, "and"))
    return None


def _renumber(dataset: Any, own: list[str], names: list[str]) -> bool:
    """Whether that was possible: a dataset can do it itself, and what lists files, as torchvision's folders do, is
    changed here."""
    if isinstance(dataset, NumbersClasses):
        dataset.number_classes(names)
        return True
    if not (
        isinstance(getattr(dataset, "samples", None), list) and isinstance(getattr(dataset, "class_to_idx", None), dict)
    ):
        return False
    numbers = {name: number for number, name in enumerate(names)}
    dataset.samples = [(path, numbers[own[target]]) for path, target in dataset.samples]
    dataset.targets = [target for _, target in dataset.samples]
    if hasattr(dataset, "imgs"):
        dataset.imgs = dataset.samples
    dataset.classes, dataset.class_to_idx = list(names), numbers
    return True


def warn_of_rare(labels: Tensor, split: Mapping[str, Tensor], whole: DatasetSplit) -> None:
    """One line for each part of a stratified split that lacks a class. `labels` (int64, (N,)) are those of all
    samples, and `split` holds the indices of each part."""
    names, counts = whole.class_names, labels.bincount()
    for label, members in split.items():
        lacking = ((counts > 0) & (labels[members].bincount(minlength=len(counts)) == 0)).nonzero().flatten().tolist()
        if lacking:
            classes = [f"{names[n] if n < len(names) else n} ({pluralize(int(counts[n]), 'sample')})" for n in lacking]
            log.warning("data.stratify: too few samples to give %s any of class %s", label, listing(classes, "and"))


def _lacking(train: DatasetSplit, names: list[str]) -> Iterator[str]:
    """What a folder of classes has that is hardly meant."""
    if not isinstance(getattr(train.dataset, "class_to_idx", None), dict):
        return
    if hidden := [name for name in names if name.startswith(".")]:
        yield f"{train.name}: hidden folders count as classes: {listing(hidden, 'and')}; delete them"
    counts = Counter(getattr(train.dataset, "targets", None) or ())
    if counts and (empty := [name for number, name in enumerate(names) if not counts[number]]):
        yield f"{train.name}: no sample of {listing(empty, 'and')}: the model has outputs for what it cannot learn"
