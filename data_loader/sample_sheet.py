"""A sheet of samples as a picture: as they are read, as an evaluation sees them, and as training sees them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from data_loader.assemble import Data
from data_loader.inspection import as_numbers
from data_loader.opened import OpenedSet
from data_loader.pipeline import Pipeline, SampleError
from data_loader.sample_parts import get_part
from utils.fonts import pillow_font

COLUMNS, CELL, GAP, MARGIN, TOP = 10, 96, 6, 110, 26
SMALLEST = 8
PASSES = 3
"""How often each sample is shown as training sees it."""


def sample_sheet(data: Data) -> bytes | None:
    """A PNG of up to ten training samples, one of each class where there are classes; None of what is no image.

    Each row is scaled by itself, from its least to its largest value: black to white.
    """
    train = data.opened["train"]
    if train.streamed or train.samples is None:
        return None
    samples, names = _chosen(train, data)
    inputs = [get_part(sample, data.places.of_input(sample)) for sample in samples]
    if not inputs or any(_pixels(value) is None for value in inputs):
        return None
    rows = [("as read", inputs)]
    others = [one.samples for label, one in data.opened.items() if label != "train" and one.samples]
    if others:
        rows.append(("evaluation", _through(others[0].transform, inputs, 0)))
    rows += [(f"training, pass {n + 1}", _through(train.samples.transform, inputs, n)) for n in range(PASSES)]
    return _drawn([(title, [_pixels(value) for value in values]) for title, values in rows], names)


def _chosen(train: OpenedSet, data: Data) -> tuple[list[Any], list[str]]:
    """Samples that can be read, and what they are called."""
    assert train.samples is not None
    members = train.indices()
    spread = members[torch.linspace(0, len(members) - 1, min(len(members), 40 * COLUMNS)).long()]
    classes = getattr(train.dataset, "classes", None)
    by_class: dict[Any, tuple[Any, str]] = {}
    for number in spread.tolist():
        read = train.samples.read(train.dataset.__getitem__, 0, 0, [number])
        if not isinstance(read, list):
            continue
        try:
            target = as_numbers(get_part(read[0], data.places.of_target(read[0])))
        except ValueError:
            target = None
        known = target is not None and target.numel() == 1 and not target.is_floating_point()
        key = int(target) if known and target is not None else f"sample {number}"
        named = classes is not None and isinstance(key, int) and 0 <= key < len(classes)
        by_class.setdefault(key, (read[0], str(classes[key]) if named else str(key)))  # type: ignore[index]
        if len(by_class) == COLUMNS:
            break
    ordered = [by_class[key] for key in sorted(by_class, key=lambda key: (isinstance(key, str), key))]
    return [sample for sample, _ in ordered], [name for _, name in ordered]


def _through(pipeline: Pipeline, inputs: Sequence[Any], pass_: int) -> list[Any]:
    try:
        return pipeline.on_samples(list(inputs), pass_, 0)
    except SampleError:
        return [None] * len(inputs)  # it is told among the broken ones


def _pixels(value: Any) -> Tensor | None:
    """(H, W) or (H, W, 3) of a (H, W) or (C, H, W) tensor or an image of PIL."""
    tensor = as_numbers(value)
    if tensor is None or tensor.dim() not in (2, 3) or tensor.is_complex():
        return None
    tensor = tensor.float().nan_to_num()
    if tensor.dim() == 2:
        return tensor if min(tensor.shape) >= SMALLEST else None  # a series of some channels is no image
    return tensor[:3].permute(1, 2, 0) if len(tensor) >= 3 else tensor[0]


def _drawn(rows: Sequence[tuple[str, Sequence[Tensor | None]]], names: Sequence[str]) -> bytes:
    from PIL import Image, ImageDraw

    cell = CELL + GAP
    sheet = Image.new("RGB", (MARGIN + len(names) * cell, TOP + len(rows) * cell), "white")
    pen = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        font = pillow_font(name, 12)
        while font.getlength(name) > cell:
            name = name[:-1]
        pen.text((MARGIN + column * cell + CELL // 2, TOP // 2), name, fill="black", font=font, anchor="mm")
    for row, (title, images) in enumerate(rows):
        top = TOP + row * cell
        pen.text((GAP, top + CELL // 2), title, fill="black", font=pillow_font(title, 12), anchor="lm")
        shown = [image for image in images if image is not None]
        low = min((float(image.min()) for image in shown), default=0.0)
        high = max((float(image.max()) for image in shown), default=1.0)
        for column, image in enumerate(images):
            if image is not None:
                grey = ((image - low) / max(high - low, 1e-9) * 255).round().to(torch.uint8).numpy()
                picture = Image.fromarray(grey)
                scale = CELL / max(picture.size)
                size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
                kept = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR
                sheet.paste(picture.resize(size, kept), (MARGIN + column * cell, top))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()
