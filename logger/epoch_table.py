"""The table of epochs, text tables, and escaping of untrusted values."""

from __future__ import annotations

import json
import unicodedata
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from logger.jsonl import CLOCK, PLACE, Tags
from utils.formatting import format_change, format_duration, format_number, pluralize

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#&~"})


def written(value: Any) -> str:
    """A value of a config as YAML has it, in one line: `null`, `true`, `0.005`, `[16, 8]`, `SGD`."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return printable(value if isinstance(value, str) else json.dumps(value))


def printable(text: str) -> str:
    """Control characters and surrogates become `�`, line breaks and tabs spaces."""
    return "".join(letter if letter.isprintable() else " " if letter in "\n\t" else "�" for letter in text)


def for_spreadsheet(text: str) -> str:
    """A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def for_markdown(text: str) -> str:
    """What has a meaning in Markdown or HTML is escaped."""
    return text.translate(_MARKS)


GAP = "  "


@dataclass(frozen=True)
class Column:
    heading: str
    cells: Sequence[str]
    numbers: bool = False
    """Numbers are lined up at the right, texts at the left."""
    order: Sequence[Any] = ()
    """By which rows are sorted, where the cells are not fit for that; None comes last."""
    better: str = ""
    """`lower` or `higher`, where one is better."""
    about: str = ""
    """The heading at length."""


class TextTable:
    """Columns of equal length; the first one names the rows."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = [
            replace(column, heading=printable(column.heading), cells=[printable(cell) for cell in column.cells])
            for column in columns
        ]

    def text(self, width: int | None = None) -> str:
        """Lines no longer than `width` where that can be: columns that do not fit go below, the first one repeated."""
        first, *others = [_padded(column) for column in self.columns]
        blocks, block = [], [first]
        for lines in others:
            if (
                width
                and len(block) > 1
                and sum(_width(part[0]) + len(GAP) for part in [*block, lines]) > width + len(GAP)
            ):
                blocks.append(block)
                block = [first]
            block.append(lines)
        blocks.append(block)
        return "\n\n".join("\n".join(GAP.join(line).rstrip() for line in zip(*b, strict=True)) for b in blocks)

    def markdown(self) -> str:
        rows = zip(*([for_markdown(cell) for cell in column.cells] for column in self.columns), strict=True)
        lines = [
            [for_markdown(column.heading) for column in self.columns],
            ["--:" if column.numbers else "---" for column in self.columns],
            *rows,
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _padded(column: Column) -> list[str]:
    lines = [column.heading, *column.cells]
    width = max(map(_width, lines))
    blanks = [" " * (width - _width(line)) for line in lines]
    return [blank + line if column.numbers else line + blank for line, blank in zip(lines, blanks, strict=True)]


def _width(text: str) -> int:
    """Columns of a terminal: East Asian letters take two, combining marks none."""
    return sum(0 if unicodedata.combining(x) else 2 if unicodedata.east_asian_width(x) in "WF" else 1 for x in text)


ROWS = 20
"""Rows from one heading to the next."""
CHANGE = "change"
"""The column that tells how far the monitored value is from the best before it."""
MARK = "best"
Quantity = tuple[str, str]
"""The quantity and what of it: `("loss", "val")`; the quantity is empty for epoch, rate and times."""


class EpochTable:
    """Columns are quantities, training and validation side by side; new ones are taken in as they come.

    `monitor` is the watched name and `best` its best value so far. `width` in characters: what matters least is left
    out so that the table fits; None is a file, with room for everything.
    """

    def __init__(
        self, tags: Tags, monitor: str, epochs: int, best: float | None = None, width: int | None = None
    ) -> None:
        self._tags, self._monitor, self._epochs, self._best, self._room = tags, monitor, epochs, best, width
        self._widths: dict[Quantity, int] = {}
        self._shown: list[Quantity] = []
        self._rows = 0
        self._seconds: deque[float] = deque(maxlen=5)

    def row(self, row: Mapping[str, Any], improved: bool) -> str:
        """The lines to print: the heading where one is due, and the row itself last."""
        if row.get("phase") == "test":
            return epoch_line(row, self._epochs)
        cells = self._cells(row)
        if improved:
            self._best = row[self._monitor]
        wider = {column: max(len(cells.get(column, "")), self._width(column)) for column in {**self._widths, **cells}}
        lines = []
        if wider != self._widths or self._rows % ROWS == 0:
            self._rows, self._widths = 0, wider
            lines = self._heading()
        self._rows += 1
        return "\n".join([*lines, self._line(cells) + f"  {MARK}" * improved])

    def _cells(self, row: Mapping[str, Any]) -> dict[Quantity, str]:
        cells: dict[Quantity, str] = {("", "epoch"): f"{row['epoch']:{len(str(self._epochs))}}/{self._epochs}"}
        if row.get("phase") == "step" or ("", "step") in self._widths:
            cells["", "step"] = f"{row['step']:,}"
        for name, value in row.items():
            if not isinstance(value, int | float) or name in (*PLACE, "grad_norm"):
                continue
            if name.partition("/")[0] == "lr":
                cells["", name] = f"{value:.3g}"
            elif name == "samples_per_second":
                cells["", "samples/s"] = f"{value:,.0f}"
            elif name == "seconds":
                cells["", "time"] = format_duration(value)
                cells["", "left"] = self._left(row["epoch"], value)
            else:
                quantity, _, split = self._tags.tag(name).rpartition("/")
                cells[quantity, split] = format_number(value)
                if name == self._monitor:
                    cells[quantity, CHANGE] = "" if self._best is None else format_change(value - self._best)
        return cells

    def _left(self, epoch: int, seconds: float) -> str:
        """The time to the end of the last epoch at the pace of the latest ones."""
        self._seconds.append(seconds)
        to_come = self._epochs - epoch
        return format_duration(to_come * sum(self._seconds) / len(self._seconds)) if to_come > 0 else ""

    def _width(self, column: Quantity) -> int:
        """Room for the usual values from the beginning, so that columns seldom move."""
        usual = 7 if column[0] else 8 if column[1] in ("lr", "time", "left") else 0
        return self._widths.get(column, max(len(column[1]), usual))

    def _heading(self) -> list[str]:
        columns = self._ordered()
        kept = set(columns)
        while self._room is not None and self._length([c for c in columns if c in kept]) > self._room:
            least = max(reversed([c for c in columns if c in kept]), key=self._rank)
            if self._rank(least) == 0:
                break
            kept.remove(least)
        self._shown = [column for column in columns if column in kept]
        hidden = len(columns) - len(self._shown)
        said = [f"{pluralize(hidden, 'more column')} in a wider terminal, and all of it in train.log"] * bool(hidden)
        above = "   ".join(f"{quantity:^{width}}" for quantity, width, _ in self._groups(self._shown)).rstrip()
        below = self._line({column: column[1] for column in self._shown})
        return [*said, above, below]

    def _groups(self, columns: list[Quantity]) -> list[tuple[str, int, list[Quantity]]]:
        """Columns of one quantity, which stand closer, with their quantity and width together."""
        parts = [list(part) for _, part in groupby(columns, key=lambda column: column[0] or column[1])]
        return [(part[0][0], max(len(part[0][0]), sum(map(self._width, part)) + len(part) - 1), part) for part in parts]

    def _length(self, columns: list[Quantity]) -> int:
        return sum(width + 3 for _, width, _ in self._groups(columns)) - 1 + len(MARK)

    def _line(self, cells: Mapping[Quantity, str]) -> str:
        groups = [
            (width, " ".join(f"{cells.get(column, ''):>{self._width(column)}}" for column in part))
            for _, width, part in self._groups(self._shown)
        ]
        return "   ".join(f"{text:>{width}}" for width, text in groups)

    def _ordered(self) -> list[Quantity]:
        """Where the run stands, quantities as they came with training first, rates and times."""
        ordered = [column for column in (("", "epoch"), ("", "step")) if column in self._widths]
        for quantity in dict.fromkeys(quantity for quantity, _ in self._widths if quantity):
            splits = [split for name, split in self._widths if name == quantity and split != CHANGE]
            for split in sorted(splits, key=lambda split: split != "train"):
                ordered.append((quantity, split))
                if (quantity, split) == self._watched() and (quantity, CHANGE) in self._widths:
                    ordered.append((quantity, CHANGE))
        return [*ordered, *(column for column in self._widths if not column[0] and column not in ordered)]

    def _watched(self) -> Quantity:
        quantity, _, split = self._tags.tag(self._monitor).rpartition("/")
        return quantity, split

    def _rank(self, column: Quantity) -> int:
        """What is left out first has the largest; 0 stays."""
        quantity, what = column
        if column == self._watched() or what in ("epoch", "step", CHANGE):
            return 0
        if quantity == "loss":
            return 1
        by_word = {"time": 2, "left": 2, "samples/s": 6}
        return by_word.get(what, 4) if not quantity else 5 if what == "train" else 3


def epoch_line(row: Mapping[str, Any], epochs: int, improved: bool = False) -> str:
    """`epoch  3/10  loss 0.4321  accuracy 0.8432  val_loss 0.3912  lr 0.001  12 s  4,873 samples/s  best`"""
    place = f"epoch {row['epoch']:{len(str(epochs))}}/{epochs}"
    parts = [{"step": f"{place} step {row['step']}", "test": "test"}.get(row.get("phase", ""), place)]
    for name, value in row.items():
        if name.partition("/")[0] == "lr":
            parts.append(f"{name} {value:.3g}")
        elif name not in (*PLACE, *CLOCK, "grad_norm") and isinstance(value, int | float):
            parts.append(f"{name} {format_number(value)}")
    if "seconds" in row:
        parts.append(format_duration(row["seconds"]))
    if "samples_per_second" in row:
        parts.append(f"{row['samples_per_second']:,.0f} samples/s")
    return "  ".join([*parts, *["best"] * improved])
