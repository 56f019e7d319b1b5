"""Durable files: a function returns once its data is on the disk, and no reader sees half of it.

Every change goes through `disk`, so that a test can fail or kill the writer at its n-th operation, for every n.
As durable as fsync: on macOS the drive decides when it empties its own cache.
"""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Self

TEMPORARY = ".tmp-"  # prefix of unfinished files: never read, and the next start may remove them


class Disk:
    """The operations that change a disk, one method each."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def rmdir(self, path: Path) -> None:
        path.rmdir()

    def sync_folder(self, path: Path) -> None:
        """Put a folder's entries (names made, renamed, removed) on the disk; nothing where folders cannot be opened."""
        if not hasattr(os, "O_DIRECTORY"):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
                raise
        finally:
            os.close(descriptor)


disk = Disk()


class HashedFile:
    """A new file, written once from front to back; its bytes are counted and hashed on the way.

    SHA-256, because the processor has instructions for it (1.4 GB/s on one core; blake2b 0.9, md5 0.7, crc32 2.2, which
    would miss one damage in 4 billion), it releases the GIL, and `sha256sum` checks a file without this program.

    Leaving the `with` block syncs the file, unless by an exception. `torch.save` takes it as a file to write to.
    FileExistsError if the file is there, OSError if the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._descriptor = disk.create(path)

    def write(self, data: bytes | memoryview) -> int:
        """Write all of `data` (items of one byte), however many calls the system needs for it."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += disk.write(self._descriptor, view[done:])
        self._hash.update(view)
        self.bytes += done
        return done

    def flush(self) -> None:
        """Nothing is buffered."""

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                disk.fsync(self._descriptor)
        finally:
            os.close(self._descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Give a file this content: whoever reads it, also after a crash, finds the old or the new, never a mixture."""
    temporary = path.with_name(TEMPORARY + path.name)
    if temporary.exists():  # of a process that died here
        disk.unlink(temporary)
    with HashedFile(temporary) as file:
        file.write(data)
    rename(temporary, path)


def rename(source: Path, target: Path) -> None:
    """Rename within one file system, and have it on the disk."""
    disk.replace(source, target)
    disk.sync_folder(target.parent)
    if source.parent != target.parent:
        disk.sync_folder(source.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder with all it holds; links in it are removed, not followed. A missing folder is fine."""
    if not path.exists():
        return
    for entry in list(os.scandir(path)):
        if entry.is_dir(follow_symlinks=False):
            remove_tree(Path(entry.path))
        else:
            disk.unlink(Path(entry.path))
    disk.rmdir(path)


def os_error(error: BaseException | None) -> OSError | None:
    """The OSError behind an exception, if any: torch.save raises one of its own and keeps the disk's as its context."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
