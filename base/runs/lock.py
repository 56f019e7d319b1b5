"""The lock of a run directory: one process trains in it, and a dead process never blocks another."""

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
    """ConfigError where torchrun started more than one process: each would train, or test, the whole run."""
    count = os.environ.get("WORLD_SIZE", "")
    if count.isdecimal() and int(count) > 1:
        source, what = "the environment", "several processes would each do the whole run"
        hint = "start one, without torchrun: python train.py -c CONFIG"
        raise ConfigError([Fault(Origin(source), "WORLD_SIZE", what, count, "1", hint)], source)


LOCK, MARKER = "lock", "lock.holder"
_SECONDS = 0.5  # `is_held` takes the lock for an instant, so a start tries for longer than that


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold the run in this folder; CheckpointError names the process that has it, WriteError if it cannot be locked.

    The system frees the lock when the process ends, however it ends. `filelock` closes the descriptor in forked
    children, which would otherwise keep the lock for as long as they outlive their parent. The file `lock` names the
    holder. Where the filesystem has no locks, the file `lock.holder` stands for one.
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
        """OSError if the filesystem has no locks. A shared lock: `filelock` has none, and with an exclusive one two
        processes that look at once would each take the other for the holder."""
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
# Not filelock's SoftFileLock: it takes over the file of a dead process only where the kernel can exchange two names.
# Network filesystems, the ones without locks, cannot, and there it would block a killed run for good.


@contextmanager
def _marked(marker: Path) -> Iterator[None]:
    with writing(marker):
        ours = _mark(marker)
    if not ours:
        raise CheckpointError(f"{_in_use(marker)}; if that is gone, or this is a copy of its run, delete {marker}")
    log.warning("%s: this filesystem has no locks: the file %s stands for one", marker.parent, marker.name)
    holder = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == holder:  # not in a forked child that leaves this block
            marker.unlink(missing_ok=True)


def _mark(marker: Path) -> bool:
    """Whether this process is the one that the marker names by now."""
    me = _this_process()
    try:
        _write(marker, me)
        return True
    except FileExistsError:
        if _is_marked(marker):
            return False
    ours = marker.with_name(f"{files.TEMPORARY}{marker.name}-{os.getpid()}")
    _write(ours, me)
    files.rename(ours, marker)  # never deleted and made again: two that saw the dead one would both succeed
    time.sleep(0.1)  # who else saw the dead one has replaced it by now: the last one holds the run
    return marker.read_bytes() == me


def _write(path: Path, data: bytes) -> None:
    try:
        with files.HashedFile(path) as file:
            file.write(data)
    except FileExistsError:
        raise
    except OSError:
        path.unlink(missing_ok=True)  # half a marker names nobody, so nobody could take it over
        raise


def _is_marked(marker: Path) -> bool:
    """Whether a marker is there whose process may be alive; one of another machine counts, an unreadable one too."""
    holder = _holder(marker)
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or sys.platform == "win32":  # there os.kill(pid, 0) is Ctrl-C
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
    """A blank and JSON: on Windows others cannot read the first byte of a file that is locked."""
    now = datetime.now().isoformat(sep=" ", timespec="seconds")
    pid = os.getpid()
    return b" " + json.dumps({"host": socket.gethostname(), "pid": pid, "born": _born(pid), "since": now}).encode()


def _born(pid: int) -> str | None:
    """When a process started, in the system's ticks: tells it from a later one of the same number. None: not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _holder(path: Path) -> dict[str, Any]:
    """What the file says of the process that holds the run; {} if that cannot be read."""
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
