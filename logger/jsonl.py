"""metrics.jsonl and its TensorBoard tags: an append-only file that can be truncated to an earlier length.

    {"format": 1, "data": "real"}
    {"epoch": 1, "step": 938, "phase": "epoch end", "loss": 0.61, "val_loss": 0.44, ...}
    {"end": "finished"}

The first line is the header, the last one says why the run ended; a run that was killed has none.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.errors import WriteError, writing

log = logging.getLogger(__name__)


class AppendFile:
    """Opens `path` for appending; makes it if it is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with writing(path):
            self._file = path.open("ab")

    @property
    def length(self) -> int:
        """Bytes written, flushed or not."""
        return self._file.tell()

    def write(self, data: bytes) -> None:
        with writing(self.path):
            self._file.write(data)

    def flush(self) -> None:
        with writing(self.path):
            self._file.flush()

    def sync(self) -> None:
        """Forces to the disk what was flushed. May be called from another thread than the writing one."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with writing(self.path):
            self._file.close()


def cut(path: Path, length: int) -> None:
    """Drops what was written after the first `length` bytes; a file that is shorter keeps what it has, and says so."""
    with writing(path):
        size = path.stat().st_size
        if size > length:
            os.truncate(path, length)
        elif size < length:
            log.warning("%s has lost %d bytes since it was saved: the rows in them are missing", path, length - size)


FORMAT = 1


class MetricsFile:
    """Appends rows to `path`, of which the first `length` bytes are kept (on a resume: what the saved state had seen).

    What was written later, the `end` row of the interrupted run too, is cut off: the resumed run writes it again.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], length: int = 0) -> None:
        if path.exists():
            cut(path, length)
        self._file = AppendFile(path)
        if self._file.length == 0:
            try:
                self._write({"format": FORMAT, **header})
            except WriteError:
                with contextlib.suppress(WriteError):  # the same again
                    self.close()
                raise

    def row(self, row: Mapping[str, Any]) -> None:
        """One line of plain values. A number that is not finite, which JSON cannot say, becomes null and is named."""
        nonfinite = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        line = {**row, **dict.fromkeys(nonfinite)}
        self._write(line | {"nonfinite": nonfinite} if nonfinite else line)

    def end(self, reason: str) -> None:
        self._write({"end": reason})

    @property
    def lengths(self) -> dict[str, int]:
        """Its name and length in bytes. Each row is handed to the operating system at once: there is no flush."""
        return {self._file.path.name: self._file.length}

    def sync(self) -> None:
        self._file.sync()

    def close(self) -> None:
        self._file.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        self._file.flush()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """`parse_lines` of a file."""
    return parse_lines(path.read_bytes())


def parse_lines(data: bytes) -> Iterator[dict[str, Any]]:
    """Every whole object of a metrics.jsonl, the header and the end among them.

    A damaged line is passed over, and so is a last one that its writer had no time to finish.
    """
    for line in data.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):  # the latter where a damaged line is all brackets
            continue
        if isinstance(value, dict):
            yield value


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of the epochs and evaluations, in order."""
    return [line for line in read_lines(path) if "step" in line]


PLACE = ("epoch", "step", "phase")
CLOCK = ("seconds", "samples_per_second")


class Tags:
    """`metrics` and `valid_sets` are the names a run knows: without them `val_night_loss` could mean two things."""

    def __init__(self, metrics: Sequence[str] = (), valid_sets: Sequence[str] = ()) -> None:
        self.quantities = ("loss", *metrics)
        self.valid_sets = sorted(filter(None, valid_sets), key=len, reverse=True)

    def of_row(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Tag and value of every number of an epoch; lr and gradient norm are left to `of_step`."""
        return {
            self.tag(name): value
            for name, value in row.items()
            if isinstance(value, int | float) and name not in PLACE and not belongs_to_steps(name)
        }

    def of_step(self, values: Mapping[str, float]) -> dict[str, float]:
        """Tag and value of what is logged between epoch ends; a loss of one step is no mean over an epoch."""
        return {name if belongs_to_steps(name) else f"{name}/step": value for name, value in values.items()}

    def tag(self, name: str) -> str:
        """`val_accuracy` -> `accuracy/val`, `val_night_loss` -> `loss/val_night`, `seconds` -> `system/seconds`"""
        if name in CLOCK:
            return f"system/{name}"
        split, _, quantity = name.partition("_")
        if split == "test" and quantity:
            return f"{quantity}/test"
        if split != "val" or not quantity:
            return f"{name}/train"
        for valid_set in () if quantity in self.quantities else self.valid_sets:
            if quantity.startswith(f"{valid_set}_"):
                return f"{quantity.removeprefix(f'{valid_set}_')}/val_{valid_set}"
        return f"{quantity}/val"

    def charts(self) -> dict[str, dict[str, list[Any]]]:
        """The custom scalars layout: training and validation of a quantity on one chart. Tags are patterns there."""
        patterns = {name: [f"{re.escape(name)}/train$", f"{re.escape(name)}/val"] for name in self.quantities}
        return {"train and val": {name: ["Multiline", pattern] for name, pattern in patterns.items()}}


def belongs_to_steps(name: str) -> bool:
    return name.partition("/")[0] in ("lr", "grad_norm", "system")
