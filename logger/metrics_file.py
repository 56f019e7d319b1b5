"""metrics.jsonl: the numbers of a run, one JSON object a line, for programs to read. Needs no torch.

    {"format": 1, "data": "real"}
    {"epoch": 1, "step": 938, "phase": "epoch end", "loss": 0.61, "val_loss": 0.44, ...}
    {"end": "finished"}

The first line is the header, the last one says why the run ended; a run that was killed has none.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from base.errors import WriteError
from logger.append_file import AppendFile, cut

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
