"""One measurement: runs a command in a fresh process with one thread, and reads its stamps and total cost."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.job import STAMPS, read_stamps

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "COLUMNS": "120"}


@dataclass(frozen=True)
class Ended:
    """A process that has ended."""

    stamps: list[dict[str, Any]]
    status: int
    cpu: float
    """The total processor seconds of the process and all its threads."""
    wall: float
    output: str

    def at(self, name: str) -> list[dict[str, Any]]:
        return [stamp for stamp in self.stamps if stamp["at"] == name]


def fresh_process(command: Sequence[str]) -> Ended:
    """Runs python with these arguments in the project's root. Its stderr is a terminal, so that bars are drawn.

    Byte code is always cached, whatever the settings of this process, so that contestants do not recompile each time.
    """
    with tempfile.TemporaryDirectory() as folder, terminal() as stderr:
        stamps, output = Path(folder) / "stamps", Path(folder) / "output"
        environment = os.environ | ENVIRONMENT | {STAMPS: str(stamps)}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        before = time.perf_counter()
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr.slave,
            )
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - before
        process.returncode = os.waitstatus_to_exitcode(status)
        stderr.close_slave()
        text = output.read_text(encoding="utf-8", errors="replace") + stderr.read()
        return Ended(read_stamps(stamps), process.returncode, used.ru_utime + used.ru_stime, wall, text)


class Terminal:
    """A pseudo-terminal that is read continuously, so that a process that writes to it never waits."""

    def __init__(self) -> None:
        self.master, self.slave = os.openpty()
        self._open, self._chunks = True, list[bytes]()
        self._reader = threading.Thread(target=self._drain, daemon=True)
        self._reader.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):  # on Linux, this error means that no process has it open for writing
            while chunk := os.read(self.master, 1 << 16):
                self._chunks.append(chunk)

    def close_slave(self) -> None:
        if self._open:
            self._open = False
            os.close(self.slave)

    def read(self) -> str:
        self._reader.join(timeout=10)
        return b"".join(self._chunks).decode(errors="replace")


@contextlib.contextmanager
def terminal() -> Iterator[Terminal]:
    one = Terminal()
    try:
        yield one
    finally:
        one.close_slave()
        one.read()
        os.close(one.master)
