"""What a sample is made of: refused where no batch can be made of it."""

from __future__ import annotations

import logging
from typing import Any

from base.errors import ConfigError, DataError, Fault, Origin, listing
from base.protocols import HasTargets
from data_loader.open_datasets import DatasetSplit, all_targets
from utils.batches import ROLES, SampleKeys

log = logging.getLogger(__name__)


def label_names(train: DatasetSplit, places: SampleKeys, transformed: bool) -> list[str]:
    """The labels of the training data in the order of the alphabet, if they are texts; else nothing.

    A dataset that lists its `targets` is asked for them, any other is read once. DataError if only some are texts.
    """
    dataset = train.dataset
    if train.streamed or train.tensors is not None or train.loader is not None or transformed or not len(dataset):
        return []
    listed = dataset.targets if isinstance(dataset, HasTargets) else None
    try:
        first = places.part("target", dataset[0]) if listed is None else listed[0]
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
