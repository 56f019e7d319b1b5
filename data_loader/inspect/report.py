"""The report of tools/inspect_data.py: findings as text, and a picture of samples."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from base.protocols import HasClasses
from data_loader.inspect.inspect import Range, SetReport, as_numbers, class_number, leaks, target_of
from data_loader.loaders import LoadedData
from data_loader.open_datasets import DatasetSplit
from data_loader.transforms import Pipeline, SampleError
from utils.fonts import pillow_font
from utils.formatting import format_significant, pluralize

MOST_CLASSES = 40
"""Of more classes, only the largest and the smallest are shown."""
MOST_PAIRS = 5


def report(found: Mapping[str, SetReport], normalises: Sequence[Mapping[str, Any]] = ()) -> Iterator[str]:
    """The lines of the report. `normalises` are the arguments of Normalize in the config's `transform.eval`."""
    yield from _sets(found)
    yield ""
    yield from _classes(found)
    yield from _scale(found["train"], normalises)
    yield from _duplicates(found)
    yield from _flawed(found)


def is_broken(found: Mapping[str, SetReport]) -> bool:
    return any(one.broken for one in found.values())


def _sets(found: Mapping[str, SetReport]) -> Iterator[str]:
    rows = [("", "samples", "input", "values", "after its transforms", "target")]
    for label, one in found.items():
        target = f"{len(one.targets)} classes" if one.targets else _reach(one.target_values)
        rows.append((label, f"{one.size:,}", _input(one), _reach(one.values), _reach(one.after), target))
    yield from _table(rows, right={1})


def _input(one: SetReport) -> str:
    """`1x28x28 uint8`; `RGB image of 39 sizes`; `2 kinds, most 2x6x6 uint8`"""
    kinds = [kind for kind, _ in one.kinds.most_common()]
    without_size = {re.sub(r"( of )?\b\d+(x\d+)*\b", "", kind).strip() for kind in kinds}
    if len(kinds) < 2:
        return "".join(kinds)
    if len(without_size) == 1:
        return f"{without_size.pop()} of {pluralize(len(kinds), 'size')}"
    return f"{pluralize(len(without_size), 'kind')}, most {kinds[0]}"


def _reach(values: Range) -> str:
    if values.low is None or values.high is None:
        return ""
    return f"{format_significant(values.low)} to {format_significant(values.high)}"


def _classes(found: Mapping[str, SetReport]) -> Iterator[str]:
    classes = sorted({number for one in found.values() for number in one.targets})
    if not classes:
        return
    names = found["train"].classes
    rows = [("class", *(cell for label in found for cell in (label, "share")))]
    shown = classes
    if len(classes) > MOST_CLASSES:
        by_size = sorted(classes, key=lambda number: -found["train"].targets[number])
        shown = [*by_size[: MOST_CLASSES // 2], *by_size[-MOST_CLASSES // 2 :]]
        yield f"the {MOST_CLASSES // 2} largest and the {MOST_CLASSES // 2} smallest of {len(classes)} classes"
    for number in shown:
        name = f" {names[number]}" if names is not None and 0 <= number < len(names) else ""
        shares = [(one.targets[number], one.targets[number] / max(1, one.targets.total())) for one in found.values()]
        rows.append((f"{number}{name}", *(cell for n, share in shares for cell in (f"{n:,}", f"{100 * share:.1f} %"))))
    yield from _table(rows, right=set(range(1, len(rows[0]))))
    yield ""


def _scale(train: SetReport, normalises: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if (result := train.moments.result()) is None:
        return
    mean, std = result
    yield "mean and std of the training inputs per channel, as they come to Normalize in data.transform.eval:"
    means = ", ".join(_to_within(*pair) for pair in zip(mean, std, strict=True))
    yield f"  - {{type: Normalize, args: {{mean: [{means}], std: {_list(std)}}}}}"
    if 0 in std:
        yield "  a channel with std 0 is the same everywhere: it says nothing, and Normalize cannot divide by it"
    for args in normalises:
        yield f"  the config has mean: {_list(args.get('mean', ()))}, std: {_list(args.get('std', ()))}"
    yield ""


def _to_within(mean: float, std: float) -> str:
    """The mean to a thousandth of the standard deviation, with at least four digits."""
    ratio = abs(mean) / std if std else 0
    digits = 4 + math.ceil(math.log10(ratio)) if 1 < ratio < math.inf else 4
    return f"{mean:.{min(digits, 17)}g}"


def _list(values: Iterable[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def _duplicates(found: Mapping[str, SetReport]) -> Iterator[str]:
    clean = True
    for first, second, both in leaks(found):
        clean &= first == second
        some = ", ".join(f"{there} = {here}" for there, here in both.pairs[:MOST_PAIRS])
        more = ", ..." * (len(both.pairs) > MOST_PAIRS)
        labelled = f", {both.other_target:,} of them with another class" if both.other_target else ""
        count = pluralize(len(both.pairs), "sample")
        if first == second:
            yield f"repeated in {first}: {count} ({some}{more}){labelled}"
        else:
            yield f"LEAK: {count} of {second} in {first} too ({first} = {second}: {some}{more}){labelled}"
    if clean and len(found) > 1:
        yield "no sample is in two sets"


def _flawed(found: Mapping[str, SetReport]) -> Iterator[str]:
    for label, one in found.items():
        for numbers, what in ((one.not_finite, "hold NaN or infinity"), (one.blank, "are all of one value")):
            if numbers:
                some = ", ".join(map(str, numbers[:MOST_PAIRS])) + ", ..." * (len(numbers) > MOST_PAIRS)
                yield f"{pluralize(len(numbers), 'sample')} of {label} {what}: {some}"
    broken = [line for one in found.values() for line in one.broken]
    yield f"{pluralize(len(broken), 'broken sample')}:" if broken else "every sample can be read"
    yield from (f"  {line}" for line in broken)


def _table(rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{c:>{w}}" if i in right else f"{c:<{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()


COLUMNS, CELL, GAP, MARGIN, TOP = 10, 96, 6, 110, 26
SMALLEST = 8
PASSES = 3
"""How often each sample is shown with the training transforms."""


def sample_sheet(data: LoadedData) -> bytes | None:
    """A PNG of up to ten training samples, one for each class if there are classes; None if they are not images.

    Each row is scaled separately, from its smallest value in black to its largest in white.
    """
    train = data.opened["train"]
    if train.streamed or train.samples is None:
        return None
    samples, names = _chosen(train, data)
    inputs = [data.places.part("input", sample) for sample in samples]
    if not inputs or any(_pixels(value) is None for value in inputs):
        return None
    rows = [("as read", inputs)]
    others = [one.samples for label, one in data.opened.items() if label != "train" and one.samples]
    if others:
        rows.append(("evaluation", _through(others[0].transform, inputs, 0)))
    rows += [(f"training, pass {n + 1}", _through(train.samples.transform, inputs, n)) for n in range(PASSES)]
    return _drawn([(title, [_pixels(value) for value in values]) for title, values in rows], names)


def _chosen(train: DatasetSplit, data: LoadedData) -> tuple[list[Any], list[str]]:
    """Readable samples, and their class names."""
    assert train.samples is not None
    members = train.indices()
    spread = members[torch.linspace(0, len(members) - 1, min(len(members), 40 * COLUMNS)).long()]
    classes = (train.dataset.classes if isinstance(train.dataset, HasClasses) else None) or ()
    by_class: dict[tuple[str, int], tuple[Any, str]] = {}
    for number in spread.tolist():
        read = train.samples.read(train.dataset.__getitem__, 0, 0, [number])
        if not isinstance(read, list):
            continue
        target = class_number(target_of(read[0], data.places))
        key: tuple[str, int] = ("sample ", number) if target is None else ("", target)
        named = target is not None and 0 <= target < len(classes)
        by_class.setdefault(key, (read[0], str(classes[key[1]]) if named else f"{key[0]}{key[1]}"))
        if len(by_class) == COLUMNS:
            break
    ordered = [by_class[key] for key in sorted(by_class)]
    return [sample for sample, _ in ordered], [name for _, name in ordered]


def _through(pipeline: Pipeline, inputs: Sequence[Any], pass_: int) -> list[Any]:
    try:
        return pipeline.on_samples(list(inputs), pass_, 0)
    except SampleError:
        return [None] * len(inputs)  # the report lists it among the broken samples


def _pixels(value: Any) -> Tensor | None:
    """(H, W) or (H, W, 3) for a tensor (H, W) or (C, H, W) or a PIL image; None for anything else."""
    tensor = as_numbers(value)
    if tensor is None or tensor.dim() not in (2, 3) or tensor.is_complex():
        return None
    tensor = tensor.float().nan_to_num()
    if tensor.dim() == 2:
        return tensor if min(tensor.shape) >= SMALLEST else None  # a short series of channels is not an image
    return tensor[:3].permute(1, 2, 0) if len(tensor) >= 3 else tensor[0]


def _drawn(rows: Sequence[tuple[str, Sequence[Tensor | None]]], names: Sequence[str]) -> bytes:
    from PIL import Image, ImageDraw, ImageOps

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
                method = Image.Resampling.NEAREST if max(picture.size) < CELL else Image.Resampling.BILINEAR
                sheet.paste(ImageOps.contain(picture, (CELL, CELL), method), (MARGIN + column * cell, top))
    file = io.BytesIO()
    sheet.save(file, "PNG", optimize=True)
    return file.getvalue()
