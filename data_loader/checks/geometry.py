"""Refuses transforms that move an image's pixels beside a mask or boxes that stay where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from base.config.keys import DataConfig
from base.errors import ConfigError, Fault, Origin
from utils.batches import SampleKeys, parts_of

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
