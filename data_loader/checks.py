"""Checks of datasets before training: classes by name, pixels beside masks, shared samples, kinds of samples."""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from base.config.keys import DataConfig
from base.errors import ConfigError, DataError, Fault, Origin, listing
from base.protocols import HasClasses, HasTargets, NumbersClasses
from data_loader.open_datasets import DatasetSplit, add_to_hash, all_targets, tensors_of
from utils.batches import ROLES, SampleKeys, parts_of
from utils.formatting import pluralize
from utils.seed import isolated_rng

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


def label_names(train: DatasetSplit, places: SampleKeys, transformed: bool) -> list[str]:
    """The labels of the training data in the order of the alphabet, if they are texts; else nothing.

    A dataset that lists its `targets` is asked for them, any other is read once. DataError if only some are texts.
    """
    dataset = train.dataset
    if train.streamed or train.tensors is not None or train.loader is not None or transformed or not len(dataset):
        return []
    listed = dataset.targets if isinstance(dataset, HasTargets) else None
    try:
        with isolated_rng():
            first = places.part("target", _copy(dataset)[0]) if listed is None else listed[0]
    except Exception:  # what cannot be read is told by those who read samples, with its place
        return []
    if not isinstance(first, str):
        return []
    labels = list(all_targets(dataset, None, places))
    if others := [number for number, label in enumerate(labels) if not isinstance(label, str)]:
        found = f"{type(labels[others[0]]).__name__} for sample {others[0]}"
        raise DataError(f"{train.name}: expected a text as each label, as the first one is; found {found}")
    names = sorted(set(labels))
    log.info("%s: its labels are texts and become classes: %s", train.name, listing(_numbered(names), "and", most=20))
    return names


def _numbered(names: list[str]) -> list[str]:
    return [f"{number} {name}" for number, name in enumerate(names)]


def refuse_images(sample: Any, name: str, key: str, places: SampleKeys) -> None:
    """ConfigError at `key`, the transforms, if input or target of a transformed sample is still an image of PIL."""
    for role in ROLES:
        try:
            part = places.part(role, sample)
        except ValueError:
            continue
        if hasattr(part, "getbands"):
            where, steps = (key, "ToImage and ToFloat") if role == "input" else ("data.target_transform", "ToImage")
            what = f"no batch can be made of PIL images, as the {role}s of {name} are after their transforms"
            found = f"{part.mode} image of {part.width}x{part.height}"
            raise ConfigError([Fault(Origin("the config"), where, what, found, "tensors", f"add {steps}")])


FIXED = {"Resize", "CenterCrop", "Pad"}
"""These change every image alike, so that `data.target_transform` can change masks as they do."""
RANDOM = {
    "AugMix",
    "AutoAugment",
    "ElasticTransform",
    "FiveCrop",
    "RandAugment",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomIoUCrop",
    "RandomPerspective",
    "RandomResize",
    "RandomResizedCrop",
    "RandomRotation",
    "RandomShortestSize",
    "RandomVerticalFlip",
    "RandomZoomOut",
    "ScaleJitter",
    "TenCrop",
    "TrivialAugmentWide",
}


def refuse_lone_geometry(sample: Any, key: str, places: SampleKeys, data: DataConfig) -> None:
    """ConfigError if `sample`, as it is read, holds a mask or boxes, and a transform of `key` moves the input alone."""
    steps = {"data.transform.train": data.transform.train, "data.transform.eval": data.transform.eval}.get(key, ())
    moving = RANDOM if data.target_transform is not None else RANDOM | FIXED
    for number, step in enumerate(steps):
        if step.type in moving and (found := _stays(sample, places)):
            what = f"{step.type} moves the pixels of the input alone"
            hint = f"change both together in the dataset's __getitem__, and take {step.type} out of data.transform"
            fault = Fault(
                Origin("the config"), f"{key}.{number}", what, found, "a target that does not lie on it", hint
            )
            raise ConfigError([fault])


def _stays(sample: Any, places: SampleKeys) -> str:
    """The mask or the boxes of a sample in words; empty if it has none."""
    try:
        place = places.key_of("input", sample)
    except ValueError:
        return ""
    if place is None:
        return ""
    size = _size_of(sample[place])
    if size is None:
        return ""
    image = f"an image of {size[0]}x{size[1]}"
    place = place if isinstance(sample, Mapping) else int(place) % len(sample)
    entries = sample.items() if isinstance(sample, Mapping) else enumerate(sample)
    for name, part in _named({name: part for name, part in entries if name != place}):
        if "box" in name.lower() or type(part).__name__ == "BoundingBoxes":
            return f"boxes beside {image}"
        if _size_of(part) == size:
            return f"a target of the same height and width beside {image}"
    return ""


def _named(parts: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """The parts at any depth, with the names that mappings give them."""
    for name, part in parts.items():
        yield str(name), part
        inner = part if isinstance(part, Mapping) else dict(enumerate(parts_of(part)))
        yield from _named(inner)


def _size_of(value: Any) -> tuple[int, int] | None:
    """(height, width) of an image or mask: a PIL image, or a tensor or array (H, W) or (C, H, W); else None."""
    if hasattr(value, "getbands"):
        return value.height, value.width
    shape = tuple(getattr(value, "shape", ()))
    return (shape[-2], shape[-1]) if len(shape) in (2, 3) and min(shape[-2:]) > 1 else None


MOST_COPIED = 10_000
"""Entries of a list that are copied with a dataset; a longer list is shared."""
MOST_SAMPLES, MOST_SECONDS = 20_000, 1.0
"""What the comparison of two sets may read and take; of larger ones it compares a part."""


def content_of(value: Any) -> bytes:
    """A hash of a sample's input: tensors, arrays, images and plain values at any depth."""
    digest = blake2b(digest_size=16)
    add_to_hash(digest, value)
    return digest.digest()


def warn_of_shared(sets: Mapping[str, DatasetSplit], places: SampleKeys) -> None:
    """One line for each set that shares samples with the training set.

    It looks at sets of the same class only: two constructors that each draw their split from one collection overlap,
    unless both draw with the same seed. What the run itself split is disjoint.
    """
    train = sets["train"]
    for one in sets.values():
        apart = one.dataset is not train.dataset and type(one.dataset) is type(train.dataset)
        ours = not any(each.streamed or each.loader is not None for each in (one, train))
        if apart and ours and (message := _shared(train, one, places)):
            log.warning("%s", message)


def _shared(train: DatasetSplit, other: DatasetSplit, places: SampleKeys) -> str:
    """What they share in words; empty if that is nothing, or if the training set repeats itself about as often."""
    end = time.monotonic() + MOST_SECONDS
    there, seen = _contents(other, places, MOST_SAMPLES // 2, end - MOST_SECONDS / 2)
    here, looked_at = _contents(train, places, MOST_SAMPLES - seen, end)
    common = sum(count for content, count in there.items() if content in here)
    repeated = looked_at - len(here)
    if not common or common / seen <= 2 * repeated / looked_at:  # samples of few kinds, such as rows of a survey
        return ""
    sizes = len(train.indices()), len(other.indices())
    part = f" (compared {looked_at:,} of {sizes[0]:,} with {seen:,} of {sizes[1]:,})"
    hint = "draw both parts with one seed, or let the run split the data (data.valid: 0.1)"
    return (
        f"{other.name} shares {pluralize(common, 'sample')} with {train.name}{part * ((looked_at, seen) != sizes)}: "
        f"its scores are better than those on new data; {hint}"
    )


def _contents(one: DatasetSplit, places: SampleKeys, most: int, end: float) -> tuple[dict[bytes, int], int]:
    """How often each input occurs, and how many were looked at, spread over the set, until the time `end`."""
    chosen = one.indices()
    chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))[:most]]
    found: dict[bytes, int] = {}
    with isolated_rng():
        for looked_at, content in enumerate(_each(one, places, chosen)):
            if time.monotonic() > end:
                return found, looked_at
            if content is not None:
                found[content] = found.get(content, 0) + 1
    return found, len(chosen)


def _each(one: DatasetSplit, places: SampleKeys, chosen: Tensor) -> Iterator[bytes | None]:
    """The content of each sample; None for one that cannot be read, which whoever trains with it tells."""
    if one.tensors is not None:
        for row in places.part("input", one.tensors)[chosen].numpy(force=True):
            yield blake2b(row.tobytes(), digest_size=16).digest()
        return
    dataset = _copy(one.dataset)
    for index in chosen.tolist():
        try:
            yield content_of(places.part("input", dataset[index]))
        except Exception:
            yield None


def _copy(dataset: Any) -> Any:
    """A copy to read from: a dataset may count or draw as it is read, and training must find it as it was made. None,
    of which nothing can be read, if the dataset cannot be copied."""
    shared = [value for value in getattr(dataset, "__dict__", {}).values() if _is_large(value)]
    try:
        return copy.deepcopy(dataset, {id(value): value for value in shared})
    except Exception:
        return None


def _is_large(value: Any) -> bool:
    """True of arrays and lists of samples, which reading leaves alone: copying a million paths takes seconds."""
    entries = len(value) if isinstance(value, list | tuple | dict) else 0
    return entries > MOST_COPIED or getattr(value, "nbytes", 0) > 1 << 20
