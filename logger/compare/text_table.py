"""Text and Markdown tables, and escaping of untrusted values in them."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

_MARKS = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#&~"})


def written(value: Any) -> str:
    """A value of a config as one line of YAML: `null`, `true`, `0.005`, `[16, 8]`, `SGD`."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return printable(value if isinstance(value, str) else json.dumps(value))


def printable(text: str) -> str:
    """Replaces control characters and surrogates by `�`, line breaks and tabs by spaces."""
    return "".join(letter if letter.isprintable() else " " if letter in "\n\t" else "�" for letter in text)


def for_spreadsheet(text: str) -> str:
    """Prefixes a text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def for_markdown(text: str) -> str:
    """Escapes the special characters of Markdown and HTML."""
    return text.translate(_MARKS)


GAP = "  "


@dataclass(frozen=True)
class Column:
    heading: str
    cells: Sequence[str]
    numbers: bool = False
    """Numbers are aligned right, texts left."""
    order: Sequence[Any] = ()
    """Sort keys of the rows, if the cells do not sort properly; None comes last."""
    better: str = ""
    """`lower` or `higher`, if one of them is better."""
    about: str = ""
    """A longer description of the heading."""


class TextTable:
    """Columns of equal length; the first column names the rows."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self.columns = [
            replace(column, heading=printable(column.heading), cells=[printable(cell) for cell in column.cells])
            for column in columns
        ]

    def text(self, width: int | None = None) -> str:
        """Wraps to lines of at most `width` if possible: columns that do not fit go below, after the first column."""
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
    """The width on a terminal: wide East Asian characters take two columns, combining marks none."""
    return sum(0 if unicodedata.combining(x) else 2 if unicodedata.east_asian_width(x) in "WF" else 1 for x in text)
