"""The lock of a run directory: one process trains in it, and a dead process never blocks another."""

from __future__ import annotations

import json
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


def refuse_several_processes() -> None:
    """ConfigError where torchrun started more than one process: each would train, or test, the whole run."""
    count = os.environ.get("WORLD_SIZE", "")
    if count.isdecimal() and int(count) > 1:
        source, what = "the environment", "several processes would each do the whole run"
        hint = "start one, without torchrun: python train.py -c CONFIG"
        raise ConfigError([Fault(Origin(source), "WORLD_SIZE", what, count, "1", hint)], source)


LOCK, CLAIM = "lock", "lock.holder"
_TRIES = 25  # who asks whether a run is locked holds the lock for an instant: try for half a second


@contextmanager
def held(run: Path) -> Iterator[None]:
    """Hold the run in this folder; CheckpointError names the process that has it, WriteError if it cannot be locked.

    The system frees the lock when the process ends, however it ends: forked children at once close the descriptor that
    they inherit (it would keep the lock for as long as they outlive their parent), spawned ones never get it. The file
    `lock` names the holder. Where the file system has no locks, the file `lock.holder` stands for one; that of a
    process on this machine that is gone is taken over.
    """
    try:
        descriptor = os.open(run / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"{run / LOCK}: the run cannot be locked: {error.strerror}") from error
    _descriptors.add(descriptor)
    try:
        claimed = _take(descriptor, run)
        try:
            yield
        finally:
            if descriptor in _descriptors:  # not in a forked child that leaves this block
                os.ftruncate(descriptor, 0)
                if claimed:
                    (run / CLAIM).unlink(missing_ok=True)
    finally:
        if descriptor in _descriptors:
            _descriptors.remove(descriptor)
            os.close(descriptor)


def is_held(run: Path) -> bool:
    """Whether some process, this one included, holds the run."""
    try:
        descriptor = os.open(run / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        _system_lock(descriptor, shared=True)
    except BlockingIOError:
        return True
    except OSError:
        return _alive(_holder(run / CLAIM))
    finally:
        os.close(descriptor)
    return False


def _take(descriptor: int, run: Path) -> bool:
    """True if it is the file `lock.holder` that holds the run, False if it is the system's lock."""
    me = json.dumps(_this_process()).encode()
    for _ in range(_TRIES):
        try:
            _system_lock(descriptor)
        except BlockingIOError:
            time.sleep(0.02)
        except OSError:
            with writing(run / CLAIM):
                claimed = _claim(run / CLAIM, me)
            if not claimed:
                raise CheckpointError(f"{_in_use(run, CLAIM)}; if that is gone, delete {run / CLAIM}") from None
            return True
        else:
            with writing(run / LOCK):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, me)
            return False
    raise CheckpointError(_in_use(run, LOCK))


def _in_use(run: Path, file: str) -> str:
    holder = {"pid": "?", "host": "?", "since": "?"} | _holder(run / file)
    who = f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    return f"{run} is in use by {who}; wait for it, or stop it"


_descriptors: set[int] = set()
"""Of the locks that this process holds."""


def _let_go() -> None:
    """In a forked child: a copy of the descriptor would keep the lock for as long as the child outlives its parent."""
    for descriptor in _descriptors:
        os.close(descriptor)
    _descriptors.clear()


if sys.platform == "win32":
    import msvcrt

    def _system_lock(descriptor: int, shared: bool = False) -> None:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which others must be able to read
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
else:
    import fcntl

    os.register_at_fork(after_in_child=_let_go)

    def _system_lock(descriptor: int, shared: bool = False) -> None:
        """BlockingIOError if another holds it, another OSError if the file system has no locks."""
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _this_process() -> dict[str, Any]:
    now = datetime.now().isoformat(sep=" ", timespec="seconds")
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "since": now}


def _born(pid: int) -> str | None:
    """When a process started, in the system's ticks: tells it from a later one of the same number. None: not known."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def _holder(path: Path) -> dict[str, Any]:
    try:
        holder = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _alive(holder: dict[str, Any]) -> bool:
    """Whether the process that left this still runs; one on another machine counts as running."""
    if holder.get("host") != socket.gethostname() or sys.platform == "win32":  # there os.kill(pid, 0) is Ctrl-C
        return bool(holder)
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return holder.get("born") == _born(holder["pid"])


def _claim(claim: Path, me: bytes) -> bool:
    for _ in range(2):
        try:
            with files.HashedFile(claim) as file:
                file.write(me)
            return True
        except FileExistsError:
            if not claim.read_bytes() or _alive(_holder(claim)):
                return False
            claim.unlink(missing_ok=True)
        except OSError:
            claim.unlink(missing_ok=True)  # half a claim, which nobody could take over
            raise
    return False
