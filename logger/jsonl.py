"""metrics.jsonl, append-only files that a resume truncates, and the TensorBoard tags of metrics.

    {"format": 1, "data": "real"}
    {"epoch": 1, "step": 938, "phase": "epoch end", "loss": 0.61, "val_loss": 0.44, ...}
    {"end": "finished"}

The first line is the header. The last line says why the run ended; it is missing if the run was killed.
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
from utils import files
from utils.formatting import pluralize

log = logging.getLogger(__name__)


class AppendFile:
    """Opens `path` for appending and creates it if necessary. Methods raise WriteError if the disk refuses."""

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
        """Forces flushed data to the disk. May be called from any thread."""
        with writing(self.path):
            files.disk.fsync(self._file.fileno())

    def close(self) -> None:
        with writing(self.path):
            self._file.close()


def cut(path: Path, length: int) -> None:
    """Truncates the file to `length` bytes. If it is shorter than that, warns and leaves it unchanged."""
    with writing(path):
        size = path.stat().st_size
        if size > length:
            os.truncate(path, length)
        elif size < length:
            log.warning("%s has lost %d bytes since it was saved: the rows in them are missing", path, length - size)


def drop_damaged_lines(path: Path) -> None:
    """Removes lines that are no objects, as a power cut leaves them: half a line, or zeros. One line says how many."""
    with writing(path):
        data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n") and list(parse_lines(line))]
    if len(whole) < len(lines):
        with writing(path):
            files.replace_file(path, b"".join(whole))
        log.warning("%s: %s cut off", path, pluralize(len(lines) - len(whole), "damaged line"))


FORMAT = 1


class MetricsFile(AppendFile):
    """Appends rows to `path`, after truncating it to `length` bytes (on a resume: its length at the checkpoint).

    The resumed run writes the later rows again, and an `end` row of its own.
    """

    def __init__(self, path: Path, header: Mapping[str, Any], length: int = 0) -> None:
        if path.is_file():
            cut(path, length)
            drop_damaged_lines(path)
        super().__init__(path)
        if self.length == 0:
            try:
                self._write_line({"format": FORMAT, **header})
            except WriteError:
                with contextlib.suppress(WriteError):  # closing retries the write
                    self.close()
                raise

    def row(self, row: Mapping[str, Any]) -> None:
        """Writes one line of plain values. JSON has no NaN or infinity: they become null, listed in `nonfinite`."""
        nonfinite = [name for name, value in row.items() if isinstance(value, float) and not math.isfinite(value)]
        named = {"nonfinite": nonfinite} if nonfinite else {}
        self._write_line({**row, **dict.fromkeys(nonfinite), **named})

    def end(self, reason: str) -> None:
        self._write_line({"end": reason})

    def _write_line(self, line: Mapping[str, Any]) -> None:
        self.write(json.dumps(line, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        self.flush()


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
    """Maps names of metrics to TensorBoard tags.

    `metrics` and `valid_sets` are the names in the run; without them `val_night_loss` would be ambiguous.
    """

    def __init__(self, metrics: Sequence[str] = (), valid_sets: Sequence[str] = ()) -> None:
        self.quantities = ("loss", *metrics)
        self.valid_sets = sorted(filter(None, valid_sets), key=len, reverse=True)

    def of_row(self, row: Mapping[str, Any]) -> dict[str, float]:
        """The values of an epoch by tag, without learning rates and gradient norm, which `of_step` handles."""
        return {
            self.tag(name): value
            for name, value in row.items()
            if isinstance(value, int | float) and name not in PLACE and not belongs_to_steps(name)
        }

    def of_step(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values of a step by tag. `/step` keeps the loss of a step apart from the mean over an epoch."""
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
        """The custom scalars layout: one chart per quantity for training and validation. Its tags are patterns."""
        patterns = {name: [f"{re.escape(name)}/train$", f"{re.escape(name)}/val"] for name in self.quantities}
        return {"train and val": {name: ["Multiline", pattern] for name, pattern in patterns.items()}}


def belongs_to_steps(name: str) -> bool:
    return name.partition("/")[0] in ("lr", "grad_norm", "system")
