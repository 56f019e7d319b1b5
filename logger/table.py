"""A table of texts, for a terminal or for Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from logger.cells import for_markdown, printable

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


class Table:
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
