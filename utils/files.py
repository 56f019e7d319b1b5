"""Durable, atomic files: each function returns once its data is on the disk, and no reader sees a partial file.

Every change goes through `disk`, so that a test can fail or kill the writer at its n-th operation, for every n.
Durability is that of fsync; on macOS, the drive may still hold data in its own cache. Network filesystems, mounted
buckets and Colab's Drive lack some operations. A warning then says once what is weaker, and the run continues.
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

TEMPORARY = ".tmp-"  # the prefix of unfinished files, which are never read and may be removed by the next start
UNSUPPORTED = frozenset({errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOLCK, errno.EPERM})
"""The error numbers with which a filesystem reports that it lacks an operation."""


@functools.cache
def warn_once(text: str) -> None:
    """Logs the warning once per process."""
    log.warning(text)


class Disk:
    """One method for each operation that changes a disk."""

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
        """Forces a folder's entries (created, renamed, removed) to the disk, if the system can open folders."""
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
    """A new file, written once from start to end; its bytes are counted and hashed meanwhile.

    The hash is SHA-256: the processor has instructions for it (1.4 GB/s on one core; blake2b 0.9, md5 0.7; crc32 2.2,
    but it misses one damage in 4 billion), it releases the GIL, and `sha256sum` checks a file without this program.

    Leaving the `with` block without an exception syncs the file. `torch.save` accepts it as a file to write to.
    FileExistsError if the file exists, OSError if writing fails.
    """

    def __init__(self, path: Path) -> None:
        self.bytes = 0
        self._hash = hashlib.sha256()
        self._descriptor = disk.create(path)

    def write(self, data: bytes | memoryview) -> int:
        """Writes all of `data` (items of one byte), in as many system calls as necessary."""
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += disk.write(self._descriptor, view[done:])
        self._hash.update(view)
        self.bytes += done
        return done

    def flush(self) -> None:
        """Does nothing, since nothing is buffered."""

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
    """Replaces a file's content. Readers, even after a crash, find either the old or the new content."""
    temporary = path.with_name(TEMPORARY + path.name)
    if temporary.exists():  # left by a process that died here
        disk.unlink(temporary)
    with HashedFile(temporary) as file:
        file.write(data)
    rename(temporary, path)


def rename(source: Path, target: Path) -> None:
    """Renames within one filesystem and syncs the change.

    If the filesystem cannot rename (mounted buckets; folders in a lower layer of a container), copies instead. A killed
    process may then leave a partial copy, which a checkpoint's manifest detects.
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
            remove_tree(target)  # a partial copy must not have a checkpoint's name
            raise
        remove_tree(source)
    disk.sync_folder(target.parent)
    if source.parent != target.parent:
        disk.sync_folder(source.parent)


def discard(folder: Path) -> None:
    """Renames a folder, if possible, and removes it, so that no partial folder is ever visible under its own name."""
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
    """Removes a file, or a folder with its contents, if it exists. Links in it are removed, not followed."""
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
    """The OSError behind an exception, if any: torch.save raises its own error, with the disk's as its context."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error
