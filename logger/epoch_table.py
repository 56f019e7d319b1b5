"""The table of epochs on the console, and the line of an epoch in train.log."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from logger.jsonl import CLOCK, PLACE, Tags
from utils.formatting import format_change, format_duration, format_number, pluralize

ROWS = 20
"""Rows between two headings."""
CHANGE = "change"
"""The column with the difference between the monitored value and its previous best."""
MARK = "best"
Quantity = tuple[str, str]
"""A quantity and its split: `("loss", "val")`; the quantity is empty for epoch, learning rate and times."""


class EpochTable:
    """One column per quantity, with training and validation side by side; new quantities add columns.

    `monitor` is the monitored name and `best` its best value so far. The least important columns are dropped to fit
    `width` characters; None keeps all of them.
    """

    def __init__(
        self, tags: Tags, monitor: str, epochs: int, best: float | None = None, width: int | None = None
    ) -> None:
        self._tags, self._monitor, self._epochs, self._best, self._width = tags, monitor, epochs, best, width
        quantity, _, split = tags.tag(monitor).rpartition("/")
        self._monitored = quantity, split
        self._widths: dict[Quantity, int] = {}
        self._shown: list[Quantity] = []
        self._rows = 0
        self._seconds: deque[float] = deque(maxlen=5)

    def row(self, row: Mapping[str, Any], improved: bool) -> str:
        """The lines to print: the heading if it is due, then the row."""
        if row.get("phase") == "test":
            return epoch_line(row, self._epochs)
        cells = self._cells(row)
        if improved:
            self._best = row[self._monitor]
        names = {**self._widths, **cells}
        wider = {column: max(len(cells.get(column, "")), self._column_width(column)) for column in names}
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
                self._seconds.append(value)
                left = (self._epochs - row["epoch"]) * sum(self._seconds) / len(self._seconds)
                cells["", "left"] = format_duration(left) if row["epoch"] < self._epochs else ""
            else:
                quantity, _, split = self._tags.tag(name).rpartition("/")
                cells[quantity, split] = format_number(value)
                if name == self._monitor:
                    cells[quantity, CHANGE] = "" if self._best is None else format_change(value - self._best)
        return cells

    def _column_width(self, column: Quantity) -> int:
        """Starts wide enough for typical values, so that columns rarely move."""
        usual = 7 if column[0] else 8 if column[1] in ("lr", "time", "left") else 0
        return self._widths.get(column, max(len(column[1]), usual))

    def _heading(self) -> list[str]:
        columns = self._ordered()
        self._shown = list(columns)
        while self._width is not None and self._line_width() > self._width:
            least = max(reversed(self._shown), key=self._rank)
            if self._rank(least) == 0:
                break
            self._shown.remove(least)
        hidden = len(columns) - len(self._shown)
        note = [f"{pluralize(hidden, 'more column')} in a wider terminal, and all of it in train.log"] * bool(hidden)
        above = "   ".join(f"{quantity:^{width}}" for quantity, width, _ in self._groups()).rstrip()
        below = self._line({column: column[1] for column in self._shown})
        return [*note, above, below]

    def _groups(self) -> list[tuple[str, int, list[Quantity]]]:
        """The shown columns by quantity: its name, the width of the group, and the columns."""
        groups = []
        for _, group in groupby(self._shown, key=lambda column: column[0] or column[1]):
            columns = list(group)
            name, width = columns[0][0], sum(map(self._column_width, columns)) + len(columns) - 1
            groups.append((name, max(len(name), width), columns))
        return groups

    def _line_width(self) -> int:
        return sum(width + 3 for _, width, _ in self._groups()) - 1 + len(MARK)

    def _line(self, cells: Mapping[Quantity, str]) -> str:
        groups = [
            (width, " ".join(f"{cells.get(column, ''):>{self._column_width(column)}}" for column in columns))
            for _, width, columns in self._groups()
        ]
        return "   ".join(f"{text:>{width}}" for width, text in groups)

    def _ordered(self) -> list[Quantity]:
        """Epoch and step, then quantities in order of appearance, then learning rates and times."""
        ordered = [column for column in (("", "epoch"), ("", "step")) if column in self._widths]
        for quantity in dict.fromkeys(quantity for quantity, _ in self._widths if quantity):
            splits = [split for name, split in self._widths if name == quantity and split != CHANGE]
            for split in sorted(splits, key=lambda split: split != "train"):
                ordered.append((quantity, split))
                if (quantity, split) == self._monitored and (quantity, CHANGE) in self._widths:
                    ordered.append((quantity, CHANGE))
        return [*ordered, *(column for column in self._widths if not column[0] and column not in ordered)]

    def _rank(self, column: Quantity) -> int:
        """The column with the highest rank is dropped first; rank 0 always stays."""
        quantity, split = column
        if column == self._monitored or split in ("epoch", "step", CHANGE):
            return 0
        if quantity:
            return 1 if quantity == "loss" else 5 if split == "train" else 3
        return {"time": 2, "left": 2, "samples/s": 6}.get(split, 4)


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
