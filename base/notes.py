"""Why a run was made, in its maker's words: notes and tags in `notes.jsonl`, which decide nothing and may be added to.

{"time": "2026-11-20 16:42:03", "note": "a smaller rate, after the loss of the last one rose", "tags": ["rates"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from base.errors import ConfigError, Fault, Origin, writing
from utils import files

NOTES = "notes.jsonl"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Note:
    """A text, tags, or both; ConfigError if a tag is none. One without either is nothing and leaves no trace."""

    text: str = ""
    tags: tuple[str, ...] = ()
    time: str = ""
    """When it was written down, in local time: `2026-11-20 16:42:03`."""

    def __post_init__(self) -> None:
        expected = "letters, digits, '.', '_' and '-', a letter or digit first"
        faults = [
            Fault(Origin("command line"), "--tag", "not a tag", repr(tag), expected)
            for tag in self.tags
            if not _TAG.fullmatch(tag)
        ]
        if faults:
            raise ConfigError(faults, "the note")

    def __str__(self) -> str:
        """`2026-11-20 16:42:03 a smaller rate #rates`"""
        return " ".join(filter(None, [self.time, self.text, *(f"#{tag}" for tag in self.tags)]))

    def add_to(self, run: Path) -> None:
        """Writes it into the run's folder, unless that says the same already: one command line may start a run and
        go on with it many times."""
        text, kept = self.text.strip(), read_notes(run)
        if (not text or text in [note.text for note in kept]) and set(self.tags) <= set(tags_of(kept)):
            return
        line = {
            "time": datetime.now().isoformat(sep=" ", timespec="seconds"),
            "note": text,
            "tags": list(dict.fromkeys(self.tags)),
        }
        path = run / NOTES
        with writing(path):
            before = path.read_bytes().removesuffix(b"\n") + b"\n" if path.exists() else b""
            files.replace_file(path, before + json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")


def read_notes(run: Path) -> list[Note]:
    """The notes of the run in this folder, in the order in which they were added."""
    try:
        return parse_notes((run / NOTES).read_bytes())
    except OSError:
        return []


def parse_notes(data: bytes) -> list[Note]:
    """What of a notes.jsonl can be read; a line that is no note is passed over."""
    notes = []
    for line in data.splitlines():
        try:
            found = json.loads(line)
            notes.append(Note(str(found["note"]), tuple(map(str, found["tags"])), str(found["time"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return notes


def tags_of(notes: Iterable[Note]) -> list[str]:
    """All tags, each once."""
    return list(dict.fromkeys(tag for note in notes for tag in note.tags))
