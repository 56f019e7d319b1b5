"""Durable files: a function returns once its data is on the disk, and no reader sees half of it.

Every change goes through `disk`, so that a test can fail or kill the writer at its n-th operation, for every n.
As durable as fsync: on macOS the drive decides when it empties its own cache. Network filesystems, mounted buckets and
Colab's Drive lack some operations; what is weaker there is logged once, and the run goes on.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import logging
import os
from pathlib import Path
from typing import Self

log = logging.getLogger(__name__)

TEMPORARY = ".tmp-"  # prefix of unfinished files: never read, and the next start may remove them
UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EPERM})
"""With these a filesystem says that it lacks an operation."""


@functools.cache
def warn_once(text: str) -> None:
    """Logs it once in this process."""
    log.warning(text)


class Disk:
    """The operations that change a disk, one method each."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            warn_once("this filesystem has no fsync: a power cut may cost the newest saves and rows")

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
            if error.errno not in UNSUPPORTED:
                raise
            warn_once("this filesystem cannot sync a directory: a power cut may cost the newest saves")
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
    """Rename within one filesystem, and have it on the disk.

    Where names cannot be changed (mounted buckets; folders of a lower layer in a container), it is copied. Then a
    killed process may leave half a copy, which a save's manifest gives away.
    """
    try:
        disk.replace(source, target)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EXDEV}:
            raise
        warn_once("this filesystem cannot rename: saves are copied into their place")
        try:
            _copy(source, target)
        except OSError:
            remove_tree(target)  # half a copy must not take a save's name
            raise
        remove_tree(source)
    disk.sync_folder(target.parent)
    if source.parent != target.parent:
        disk.sync_folder(source.parent)


def discard(folder: Path) -> None:
    """Remove a folder under another name, where names can be changed: nobody sees half of it under its own."""
    doomed = folder.with_name(TEMPORARY + folder.name)
    try:
        disk.replace(folder, doomed)
        disk.sync_folder(folder.parent)
    except OSError as error:
        if error.errno not in UNSUPPORTED | {errno.EXDEV}:
            raise
        doomed = folder
    remove_tree(doomed)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        disk.mkdir(target)
        for entry in sorted(source.iterdir()):
            _copy(entry, target / entry.name)
        disk.sync_folder(target)
        return
    if target.exists():
        disk.unlink(target)
    with source.open("rb") as read, HashedFile(target) as file:
        while block := read.read(1 << 24):
            file.write(block)


def remove_tree(path: Path) -> None:
    """Remove a file, or a folder with all it holds; links in it are removed, not followed. A missing one is fine."""
    if not path.exists():
        return
    if path.is_file():
        disk.unlink(path)
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
