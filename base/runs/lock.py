"""The lock of a run directory: only one process trains in it, and a dead process never blocks another."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from base.errors import CheckpointError, ConfigError, Fault, Origin, WriteError, writing
from utils import files

log = logging.getLogger(__name__)


def refuse_several_processes() -> None:
    """ConfigError if torchrun started more than one process, since each would train or test the whole run."""
    count = os.environ.get("WORLD_SIZE", "")
    if count.isdecimal() and int(count) > 1:
        source, what = "the environment", "several processes would each do the whole run"
        hint = "start one, without torchrun: python train.py -c CONFIG"
        raise ConfigError([Fault(Origin(source), "WORLD_SIZE", what, count, "1", hint)], source)


LOCK, MARKER = "lock", "lock.holder"
_SECONDS = 0.5  # `is_held` takes the lock briefly, so a start must try for longer than that


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Locks the run in this folder. CheckpointError names the process that holds it; WriteError if locking fails.

    The system releases the lock when the process ends, for whatever reason. `filelock` closes the descriptor in forked
    children, which would otherwise keep the lock if they outlive their parent. The file `lock` names the holder. On a
    filesystem without locks, the file `lock.holder` replaces the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(
        run / LOCK,
        timeout=_SECONDS,
        poll_interval=0.02,
        thread_local=False,
        fallback_to_soft=False,
        preserve_lock_file=True,
        on_acquired=lambda descriptor: _name_holder(run / LOCK, descriptor),
    )
    try:
        lock.acquire()
    except Timeout:
        raise CheckpointError(_in_use(run / LOCK)) from None
    except OSError as error:
        if error.errno not in files.UNSUPPORTED:
            raise WriteError(f"{run / LOCK}: the run cannot be locked: {error.strerror}") from error
    if not lock.is_locked:
        with _marked(run / MARKER):
            yield
        return
    try:
        yield
    finally:
        lock.release()  # does nothing in a forked child that leaves this block


def is_held(run: Path) -> bool:
    """Whether some process, this one included, holds the run."""
    try:
        descriptor = os.open(run / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _is_free(descriptor)
    except OSError:
        return _is_marked(run / MARKER)
    finally:
        os.close(descriptor)


if sys.platform == "win32":

    def _is_free(descriptor: int) -> bool:
        from filelock import lock_descriptor

        return lock_descriptor(descriptor, blocking=False)
else:
    import fcntl

    def _is_free(descriptor: int) -> bool:
        """OSError if the filesystem has no locks. Uses a shared lock, which `filelock` lacks: with an exclusive lock,
        two processes that check at the same time would each mistake the other for the holder."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _name_holder(lock: Path, descriptor: int) -> None:
    with writing(lock):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, _this_process())


# --- without the system's locks --------------------------------------------------------------------------------------
# filelock's SoftFileLock is no replacement: it takes over the file of a dead process only if the kernel can exchange
# two names. Network filesystems, which are the ones without locks, cannot, so it would block a killed run forever.


@contextmanager
def _marked(marker: Path) -> Iterator[None]:
    with writing(marker):
        ours = _mark(marker)
    if not ours:
        hint = f"if that process is gone, or this is a copy of its run, delete {marker}"
        raise CheckpointError(f"{_in_use(marker)}; {hint}")
    log.warning("%s: this filesystem has no locks: the file %s replaces the lock", marker.parent, marker.name)
    holder = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == holder:  # not in a forked child that leaves this block
            marker.unlink(missing_ok=True)


def _mark(marker: Path) -> bool:
    """Creates or takes over the marker. True if it names this process in the end."""
    me = _this_process()
    try:
        _write(marker, me)
        return True
    except FileExistsError:
        if _is_marked(marker):
            return False
    ours = marker.with_name(f"{files.TEMPORARY}{marker.name}-{os.getpid()}")
    _write(ours, me)
    files.rename(ours, marker)  # with delete and create, two processes that found a dead holder could both succeed
    time.sleep(0.1)  # any other process that found the dead holder has renamed its file by now: the last one wins
    return marker.read_bytes() == me


def _write(path: Path, data: bytes) -> None:
    try:
        with files.HashedFile(path) as file:
            file.write(data)
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)  # a partial marker names no process, so it could never be taken over
        raise


def _is_marked(marker: Path) -> bool:
    """Whether there is a marker whose process may be alive. This includes processes of other machines and unreadable
    markers."""
    holder = _holder(marker)
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or sys.platform == "win32":  # on Windows os.kill(pid, 0) is Ctrl-C
        return marker.exists()
    if not isinstance(pid, int) or not 0 < pid < 1 << 31:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return holder.get("born") == _born(pid)


# --- who holds it ----------------------------------------------------------------------------------------------------


def _this_process() -> bytes:
    """A blank followed by JSON: on Windows, other processes cannot read the first byte of a locked file."""
    now = datetime.now().isoformat(sep=" ", timespec="seconds")
    pid = os.getpid()
    return b" " + json.dumps({"host": socket.gethostname(), "pid": pid, "born": _born(pid), "since": now}).encode()


def _born(pid: int) -> str | None:
    """When a process started, in clock ticks since boot: distinguishes it from a later process with the same number.
    None if unknown."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _holder(path: Path) -> dict[str, Any]:
    """The description of the process that holds the run; {} if the file cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(1)
            holder = json.loads(file.readall())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _in_use(file: Path) -> str:
    holder = {"pid": "?", "host": "?", "since": "?"} | _holder(file)
    who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    return f"{file.parent} is in use by {who}; wait for it, or stop it"
