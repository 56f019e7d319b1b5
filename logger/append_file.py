"""A file that only grows, knows its length, and can be cut back to an earlier one."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from base.errors import writing

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
