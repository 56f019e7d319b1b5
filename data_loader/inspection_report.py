"""What was found in the data sets, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from data_loader.inspection import Found, Range, leaks
from utils.figures import counted, figure

MOST_CLASSES = 40
"""Of more only the largest and the smallest are shown."""
MOST_PAIRS = 5


def report(found: Mapping[str, Found], normalises: Sequence[Mapping[str, Any]] = ()) -> Iterator[str]:
    """Line by line; `normalises` are the arguments of the Normalize that the config has for evaluations."""
    yield from _sets(found)
    yield ""
    yield from _classes(found)
    yield from _scale(found["train"], normalises)
    yield from _duplicates(found)
    yield from _flawed(found)


def is_broken(found: Mapping[str, Found]) -> bool:
    return any(one.broken for one in found.values())


def _sets(found: Mapping[str, Found]) -> Iterator[str]:
    rows = [("", "samples", "input", "values", "after its transforms", "target")]
    for label, one in found.items():
        target = f"{len(one.targets)} classes" if one.targets else _reach(one.target_values)
        rows.append((label, f"{one.size:,}", _input(one), _reach(one.values), _reach(one.after), target))
    yield from _table(rows, right={1})


def _input(one: Found) -> str:
    """`1x28x28 uint8`; `RGB image of 39 sizes`; `2 kinds, most 2x6x6 uint8`"""
    kinds = [kind for kind, _ in one.kinds.most_common()]
    without_size = {re.sub(r"( of )?\b\d+(x\d+)*\b", "", kind).strip() for kind in kinds}
    if len(kinds) < 2:
        return "".join(kinds)
    if len(without_size) == 1:
        return f"{without_size.pop()} of {counted(len(kinds), 'size')}"
    return f"{counted(len(without_size), 'kind')}, most {kinds[0]}"


def _reach(values: Range) -> str:
    return "" if values.low is None or values.high is None else f"{figure(values.low)} to {figure(values.high)}"


def _classes(found: Mapping[str, Found]) -> Iterator[str]:
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


def _scale(train: Found, normalises: Sequence[Mapping[str, Any]]) -> Iterator[str]:
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
    """The mean to a thousandth of the deviation, and to four digits at least."""
    ratio = abs(mean) / std if std else 0
    digits = 4 + math.ceil(math.log10(ratio)) if 1 < ratio < math.inf else 4
    return f"{mean:.{min(digits, 17)}g}"


def _list(values: Iterable[float]) -> str:
    return f"[{', '.join(f'{value:.4g}' for value in values)}]"


def _duplicates(found: Mapping[str, Found]) -> Iterator[str]:
    clean = True
    for first, second, both in leaks(found):
        clean &= first == second
        some = ", ".join(f"{there} = {here}" for there, here in both.pairs[:MOST_PAIRS])
        more = ", ..." * (len(both.pairs) > MOST_PAIRS)
        labelled = f", {both.other_target:,} of them with another class" if both.other_target else ""
        count = counted(len(both.pairs), "sample")
        if first == second:
            yield f"repeated in {first}: {count} ({some}{more}){labelled}"
        else:
            yield f"LEAK: {count} of {second} in {first} too ({first} = {second}: {some}{more}){labelled}"
    if clean and len(found) > 1:
        yield "no sample is in two sets"


def _flawed(found: Mapping[str, Found]) -> Iterator[str]:
    for label, one in found.items():
        for numbers, what in ((one.not_finite, "hold NaN or infinity"), (one.blank, "are all of one value")):
            if numbers:
                some = ", ".join(map(str, numbers[:MOST_PAIRS])) + ", ..." * (len(numbers) > MOST_PAIRS)
                yield f"{counted(len(numbers), 'sample')} of {label} {what}: {some}"
    broken = [line for one in found.values() for line in one.broken]
    yield f"{counted(len(broken), 'broken sample')}:" if broken else "every sample can be read"
    yield from (f"  {line}" for line in broken)


def _table(rows: Sequence[Sequence[str]], right: set[int]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{c:>{w}}" if i in right else f"{c:<{w}}" for i, (c, w) in enumerate(zip(row, widths, strict=True))]
        yield "  ".join(cells).rstrip()
