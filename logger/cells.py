"""Values as text. What comes from a run's folder may hold anything: nothing of it steers a terminal, a spreadsheet or a
page."""

from __future__ import annotations

import json
from typing import Any

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
