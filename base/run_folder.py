"""The folder of one run: made so that two starts never share it, locked while it trains, found again for a resume."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from base.errors import CheckpointError, ConfigError, Fault, Origin, WriteError
from utils import files

CHECKPOINTS, CONFIG, METRICS, LOCK = "checkpoints", "config.yaml", "metrics.jsonl", "lock"
SYNTHETIC = "-synthetic"  # ends the name of a run on look-alike data

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAMP = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")
_SAVE = re.compile(r"best|last|\d{6,}-step-\d{8,}")
_PROBES = 25  # a process that asks for a run's state holds its lock for an instant: try for half a second


@dataclass(frozen=True)
class RunFolder:
    """`saved/<name>/<YYYYmmdd-HHMMSS>[-n]/`; `create` makes one, `open` takes one that is there."""

    path: Path

    @classmethod
    def create(cls, save_dir: str | Path, name: str) -> RunFolder:
        """A new folder below `save_dir`, shared with no other start, and later in order than all runs of that name."""
        if not _NAME.fullmatch(name):
            expected = "letters, digits, '.', '_' and '-', a letter or digit first"
            raise ConfigError([Fault(Origin("new run"), "name", "not a name for a folder", repr(name), expected)])
        parent = Path(save_dir) / name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            now = datetime.now().strftime("%Y%m%d-%H%M%S")
            stamp, count = max([(now, 0), *map(_order, _runs(parent))])  # a clock set back must not change the order
            while True:
                count += 1
                path = parent / (stamp if count == 1 else f"{stamp}-{count}")
                try:
                    files.disk.mkdir(path)
                    break
                except FileExistsError:
                    continue
            files.disk.sync_folder(parent)
            files.disk.sync_folder(parent.parent)
        except OSError as error:
            raise WriteError(f"{parent}: the run's folder cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """CheckpointError if there is no run at `path`."""
        path = Path(path)
        if not _is_run(path):
            raise CheckpointError(_no_run(path))
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process; CheckpointError names the process that has it.

        The system frees the lock when the process ends, however it ends: forked children close the descriptor they
        inherit at once, others never get it. Where the file system has no locks, the file `lock.holder` stands for
        it; one left by a process that is gone, on this machine, is taken over.
        """
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise WriteError(f"{self.path / LOCK}: the run cannot be locked: {error.strerror}") from error
        _descriptors.add(descriptor)
        claim = self.path / f"{LOCK}.holder"
        try:
            claimed = self._take(descriptor, claim)
            try:
                yield
            finally:
                if descriptor in _descriptors:  # not in a forked child that unwinds this block
                    os.ftruncate(descriptor, 0)
                    if claimed:
                        claim.unlink(missing_ok=True)
        finally:
            if descriptor in _descriptors:
                _descriptors.remove(descriptor)
                os.close(descriptor)

    def _take(self, descriptor: int, claim: Path) -> bool:
        """True if it is `claim` that holds the run, because the file system knows no locks."""
        me = json.dumps(_this_process()).encode()
        for _ in range(_PROBES):
            try:
                _system_lock(descriptor)
            except BlockingIOError:
                time.sleep(0.02)
                continue
            except OSError:
                if not _claimed(claim, me):
                    raise CheckpointError(self._in_use(_holder(claim), f"; if that is gone, delete {claim}")) from None
                return True
            os.ftruncate(descriptor, 0)
            os.write(descriptor, me)
            return False
        raise CheckpointError(self._in_use(_holder(self.path / LOCK)))

    def _in_use(self, holder: dict[str, Any], hint: str = "") -> str:
        who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
        return f"{self.path} is in use by {who}; wait for it, or stop it{hint}"

    def is_locked(self) -> bool:
        """Whether some process, this one included, trains in this folder now."""
        try:
            descriptor = os.open(self.path / LOCK, os.O_RDONLY)
        except OSError:
            return False
        try:
            _system_lock(descriptor, shared=True)
        except BlockingIOError:
            return True
        except OSError:
            return _alive(_holder(self.path / f"{LOCK}.holder"))
        finally:
            os.close(descriptor)
        return False

    def state(self) -> str:
        """`running`; or why it ended (`finished`, `early_stop` ..., from metrics.jsonl); `killed` without a word."""
        return "running" if self.is_locked() else self._end() or "killed"

    def _end(self) -> str | None:
        try:
            text = (self.path / METRICS).read_bytes()
            row = json.loads(text[: text.rfind(b"\n") + 1].splitlines()[-1])  # what follows the last newline is torn
        except (OSError, ValueError, IndexError):
            return None
        return row.get("end") if isinstance(row, dict) else None


def resolve_resume(path: str | Path) -> tuple[RunFolder, str | None]:
    """What a user may name to go on from: a run (then None: its newest good save), `RUN/best`, `RUN/last`, or a save.

    Whether that save is there is the checkpoint store's to say. CheckpointError if it is none of these.
    """
    path = Path(path)
    if path.name == CHECKPOINTS and _is_run(path.parent):
        return RunFolder(path.parent), None
    run = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    if _SAVE.fullmatch(path.name) and _is_run(run):
        return RunFolder(run), path.name
    return RunFolder.open(path), None


def newest_run(save_dir: str | Path, name: str) -> RunFolder | None:
    """The newest run of a config's name, on real or on synthetic data; None if there is none."""
    real = name.removesuffix(SYNTHETIC)
    folders = [Path(save_dir) / real, Path(save_dir) / (real + SYNTHETIC)]
    runs = [run for folder in folders for run in _runs(folder) if _is_run(run)]
    return RunFolder(max(runs, key=_order)) if runs else None


def _runs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _STAMP.fullmatch(path.name)] if folder.is_dir() else []


def _order(run: Path) -> tuple[str, int]:
    match = _STAMP.fullmatch(run.name)
    assert match
    return match[1], int(match[2] or 1)


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() or (path / CHECKPOINTS).is_dir()


def _no_run(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such run or checkpoint"
    runs = [run for run in _runs(path) if _is_run(run)]
    hint = f"; the newest run in it is {max(runs, key=_order)}" if runs else ""
    return f"{path}: not a run: found neither {CONFIG} nor {CHECKPOINTS}/ in it{hint}"


# --- the lock --------------------------------------------------------------------------------------------------------

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


def _claimed(claim: Path, me: bytes) -> bool:
    for _ in range(2):
        try:
            with files.HashedFile(claim) as file:
                file.write(me)
            return True
        except FileExistsError:
            if not claim.read_bytes() or _alive(_holder(claim)):
                return False
            claim.unlink(missing_ok=True)
    return False
