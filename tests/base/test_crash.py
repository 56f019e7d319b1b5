"""The writer of checkpoints dies at, or is refused, every single one of its operations: a good save is always found."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base.checkpoint.store import CheckpointStore
from base.errors import WriteError
from utils import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the disk is modelled on that of Unix")

OPERATIONS = ("mkdir", "create", "write", "fsync", "replace", "unlink", "rmdir", "sync_folder")


class Died(BaseException):
    """The process is gone: nothing catches this, and nothing reaches the disk after it."""


class Dying(files.Disk):
    """Does `left` operations, then none: the process was killed in the midst of the next."""

    def __init__(self, left: int) -> None:
        self.left = left

    def spend(self, operation: str, *args: Any) -> None:
        if self.left == 0:
            if operation == "write":
                descriptor, data = args
                os.write(descriptor, data[: len(data) // 2])
            raise Died
        self.left -= 1


class PowerCut(Dying):
    """What was not synced by then is lost: contents of files, and names made, changed or removed in folders."""

    def __init__(self, left: int, attic: Path) -> None:
        super().__init__(left)
        self.attic = attic
        self.unsynced: set[int] = set()
        self.undo: list[tuple[int, Callable[[], Any]]] = []
        self.folders: dict[int, int] = {}

    def folder(self, path: Path) -> int:
        """A descriptor of the folder: it stays right when the folder is renamed."""
        inode = path.stat().st_ino
        if inode not in self.folders:
            self.folders[inode] = os.open(path, os.O_RDONLY)
        return self.folders[inode]

    def spend(self, operation: str, *args: Any) -> None:
        super().spend(operation, *args)
        if operation == "sync_folder":
            self.undo = [(folder, undo) for folder, undo in self.undo if folder != self.folder(args[0])]
        if operation in ("create", "mkdir", "rmdir", "unlink", "replace"):
            first, path = args[0].name, args[-1]
            folder, name = self.folder(path.parent), path.name
            if operation == "unlink" or path.is_file():
                self.attic.mkdir(exist_ok=True)
                kept = self.attic / str(len(list(self.attic.iterdir())))
                os.link(path, kept)
                self.undo.append((folder, lambda: os.link(kept, name, dst_dir_fd=folder)))
            undo: dict[str, Callable[[], Any]] = {
                "create": lambda: os.unlink(name, dir_fd=folder),
                "mkdir": lambda: shutil.rmtree(name, dir_fd=folder),
                "rmdir": lambda: os.mkdir(name, dir_fd=folder),
                "replace": lambda: os.rename(name, first, src_dir_fd=folder, dst_dir_fd=folder),
            }
            if operation in undo:
                self.undo.append((folder, undo[operation]))

    def write(self, descriptor: int, data: memoryview) -> int:
        self.unsynced.add(os.fstat(descriptor).st_ino)
        return super().write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        super().fsync(descriptor)
        self.unsynced.discard(os.fstat(descriptor).st_ino)

    def strike(self, place: Path, names_too: bool) -> None:
        for path in place.rglob("*"):
            if path.is_file() and path.stat().st_ino in self.unsynced:
                os.truncate(path, 0)
        for _, undo in reversed(self.undo if names_too else []):
            with contextlib.suppress(FileNotFoundError):  # in a folder that is gone for good
                undo()
        self.close()

    def close(self) -> None:
        for descriptor in self.folders.values():
            os.close(descriptor)


class Refusing(files.Disk):
    """The n-th operation fails for want of room, all others work."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.refused = ""

    def spend(self, operation: str, *args: Any) -> None:
        self.left -= 1
        if self.left == -1:
            self.refused = operation
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _operation(name: str) -> Callable[..., Any]:
    def operation(self: Any, *args: Any) -> Any:
        self.spend(name, *args)
        return getattr(files.Disk, name)(self, *args)

    return operation


for _name in OPERATIONS:
    for _disk in (Dying, Refusing):
        setattr(_disk, _name, _operation(_name))


class Without(files.Disk):
    """A quick disk, for what a test prepares."""

    def fsync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "disk", Without())


def save(folder: Path, number: int, best: bool = False, said: list[str] | None = None, keep: int = 2) -> None:
    store = CheckpointStore(folder, keep)
    weights = {"w": torch.full((300,), float(number)), "tied": torch.zeros(3).expand(2, 3)}
    info = {"step": 10 * number, "epoch": number}
    say = (lambda name: None) if said is None else said.append
    store.save(weights, {"n": torch.tensor(number), "text": "x"}, info, best=best, after_commit=say)
    store.join()


def check(folder: Path, at_least: int) -> None:
    """A good save is found, nothing was rejected; the next save works, has a new number, and nothing lies about."""
    store = CheckpointStore(folder, keep=2)
    store.clean()
    names = store.names()
    for name in names:
        assert store.load(name).name == name
    number = -1
    if at_least >= 0 or names:
        saved = store.load()
        number = int(saved.state["n"])
        assert saved.name == names[-1]
        assert number >= at_least
        assert torch.equal(saved.weights()["w"], torch.full((300,), float(number)))
    save(folder, number + 1)
    names = store.names()
    assert CheckpointStore(folder).load().state["n"] == number + 1
    assert {path.name for path in folder.iterdir()} == {*names, "last", *(["best"] if store.best() else [])}
    assert (folder / "last").read_text().strip() == names[-1] == f"{number + 1:06d}-step-{10 * (number + 1):08d}"


@pytest.fixture
def quick_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where the system has such a place: these tests make and remove thousands of folders."""
    memory = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(dir=memory)) if os.access(memory, os.W_OK) else tmp_path
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["first save", "old ones go", "a new best"])
def start(request: pytest.FixtureRequest, quick_path: Path) -> tuple[Path, int, bool]:
    """A folder of checkpoints, the number of the next save, and whether that is a best one."""
    folder = quick_path / "start" / "checkpoints"
    folder.parent.mkdir()
    count = 0 if request.param == "first save" else 4
    for number in range(count):
        save(folder, number, best=number == 1)
    if count:
        assert [name[:6] for name in CheckpointStore(folder).names()] == ["000001", "000002", "000003"]
    return folder, count, request.param == "a new best"


def attempts(place: Path, start: Path) -> Iterator[tuple[int, Path]]:
    """A fresh copy for each n; the caller leaves when n operations were enough."""
    for n in range(1000):
        run = place / str(n)
        shutil.copytree(start.parent, run)
        yield n, run / "checkpoints"
        shutil.rmtree(run)


@pytest.mark.parametrize("lost", ["nothing", "contents", "names"])
def test_killed_at_any_operation(
    start: tuple[Path, int, bool], quick_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    folder, number, best = start
    kills = 0
    for n, copy in attempts(quick_path, folder):
        disk = PowerCut(n, copy.parent / "attic")
        said: list[str] = []
        monkeypatch.setattr(files, "disk", disk)
        try:
            save(copy, number, best, said)
            disk.close()
            break
        except Died:
            kills += 1
        monkeypatch.setattr(files, "disk", Without())
        if lost == "nothing":
            disk.close()
        else:
            disk.strike(copy, names_too=lost == "names")
        check(copy, at_least=number if said else number - 1)
    assert kills > 50


def test_refused_at_any_operation(
    start: tuple[Path, int, bool], quick_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, number, best = start
    seen = set()
    for n, copy in attempts(quick_path, folder):
        disk = Refusing(n)
        said: list[str] = []
        caplog.clear()
        monkeypatch.setattr(files, "disk", disk)
        try:
            save(copy, number, best, said)
            if not disk.refused:
                break
            assert "could not be deleted: No space left on device" in caplog.text
        except WriteError as error:
            there = f"earlier ones are intact, the newest is {number - 1:06d}-" if number else "there is no earlier one"
            found = f"cannot be written: No space left on device; {there if not said else 'earlier ones are intact'}"
            assert found in str(error) or disk.refused == "sync_folder"
            assert "\n" not in str(error)
        seen.add(disk.refused)
        monkeypatch.setattr(files, "disk", Without())
        strays = [path.name for path in copy.glob(".tmp-*")] if copy.exists() else []
        assert said or not strays
        check(copy, at_least=number if said else number - 1)
    assert seen == set(OPERATIONS) or (not number and seen == set(OPERATIONS) - {"unlink", "rmdir"})


def test_killed_while_moving_and_cleaning(quick_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rejecting, abandoning and cleaning are as safe, and done again after a kill."""
    folder = quick_path / "start" / "checkpoints"
    folder.parent.mkdir()
    for number in range(5):
        save(folder, number, best=number in (1, 2), keep=5)
    names = CheckpointStore(folder).names()
    (folder / ".tmp-stray").mkdir()
    (folder / ".tmp-stray" / "file").write_text("x")
    (folder / "000004-step-00000040" / "state.pt").write_bytes(b"damaged")

    def steps(copy: Path) -> str:
        store = CheckpointStore(copy)
        store.clean()
        name = store.load().name
        store.abandon("000001-step-00000010", "20260101-000000")
        store.clean()
        return name

    for n, copy in attempts(quick_path, folder):
        monkeypatch.setattr(files, "disk", Dying(n))
        try:
            assert steps(copy) == "000003-step-00000030"
            assert n > 10
            assert (copy / "best").read_text() == "000001-step-00000010\n"
            break
        except Died:
            monkeypatch.setattr(files, "disk", Without())
            left = CheckpointStore(copy).names()
            assert left == names[: len(left)]
            steps(copy)
        store = CheckpointStore(copy)
        assert store.names() == ["000000-step-00000000", "000001-step-00000010"]
        save(copy, 5)
        assert store.load().name == "000005-step-00000050"
        assert not list(copy.glob(".tmp-*"))


KILLED = """
import os, sys
from pathlib import Path
import torch
from base.checkpoint.store import CheckpointStore
from utils import files

class Disk(files.Disk):
    def __init__(self, moment):
        self.moment = moment

    def write(self, descriptor, data):
        if self.moment == "write" and len(data) > 4096:
            os.write(descriptor, data[:4096])
            os._exit(9)
        return super().write(descriptor, data)

    def replace(self, source, target):
        if self.moment == "before":
            os._exit(9)
        super().replace(source, target)
        os._exit(9)

for moment in ("write", "before", "after"):
    if not os.fork():
        files.disk = Disk(moment)
        store = CheckpointStore(Path(sys.argv[1]) / moment / "checkpoints", keep=2)
        store.save({"w": torch.ones(5000)}, {"n": 4}, {"step": 40})
        store.join()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 9
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="one process stands in for three")
def test_killed_for_real(quick_path: Path) -> None:
    for moment in ("write", "before", "after"):
        folder = quick_path / moment / "checkpoints"
        folder.parent.mkdir()
        for number in range(4):
            save(folder, number, best=number == 1)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", KILLED, str(quick_path)], cwd=Path(__file__).parents[2], env=environment, check=True
    )
    for moment in ("write", "before", "after"):
        folder = quick_path / moment / "checkpoints"
        assert list(folder.glob(".tmp-*")) or moment == "after"
        store = CheckpointStore(folder, keep=2)
        store.clean()
        assert store.load().name[:6] == ("000004" if moment == "after" else "000003")
        save(folder, 5)
        assert not list(folder.glob(".tmp-*"))
        assert store.load().name == store.names()[-1] == store.resolve("last")
