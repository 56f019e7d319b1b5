"""A disk that is full, or refuses: one line with cause and path, earlier saves intact, and on once there is room."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from base import cli, fit
from base.checkpoint.store import CheckpointStore
from base.errors import WriteError
from base.runs import lock
from tests.small_run import small_config
from utils import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def test_room_is_looked_for_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(folder)
    store.save({}, {}, {"step": 0})
    store.join()
    caplog.clear()
    free = 4_000_000

    class Usage:
        total = 10**9

        @property
        def free(self) -> int:
            return free

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage())
    for _ in range(2):
        store.save({"w": torch.zeros(125_000)}, {}, {"step": 1})
    store.join()
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: little room for checkpoints: it takes 1.5 MB, 4.0 MB are free"
    ]
    free = 1_000_000
    with pytest.raises(WriteError) as caught:
        store.save({"w": torch.zeros(125_000)}, {}, {"step": 1})
    assert str(caught.value) == (
        f"{folder}: the checkpoint cannot be written: no space left: it takes 1.5 MB, 1.0 MB are free; "
        f"earlier ones are intact, the newest is {store.names()[-1]}"
    )
    Usage.total = 0  # a filesystem that does not say
    store.save({"w": torch.zeros(125_000)}, {}, {"step": 1})
    store.join()


def test_a_run_folder_that_is_gone(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "gone" / "checkpoints")
    with pytest.raises(WriteError, match="cannot be written: No such file or directory; there is no earlier one"):
        store.save({}, {}, {"step": 0})


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk can be mounted only by root on Linux")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def train(store: CheckpointStore, saves: int, said: list[str]) -> None:
    for step in range(saves):
        store.save({"w": torch.randn(150_000)}, {"m": torch.randn(50_000)}, {"step": step}, after_commit=said.append)
    store.join()


def test_a_full_disk(tmpfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one, with the look for room switched off: other programs fill disks between look and write."""
    monkeypatch.setattr(CheckpointStore, "_look_for_room", lambda self, needed: None)
    store = CheckpointStore(tmpfs / "checkpoints", keep=9)
    said: list[str] = []
    with pytest.raises(WriteError) as caught:
        train(store, 9, said)
    assert len(said) == 3
    path = tmpfs / "checkpoints" / "000003-step-00000003"
    assert str(caught.value) == (
        f"{path}: the checkpoint cannot be written: No space left on device; "
        "earlier ones are intact, the newest is 000002-step-00000002"
    )
    assert store.names() == said
    assert not list(tmpfs.rglob(".tmp-*"))
    for number in said:
        assert store.load(number)
    monkeypatch.undo()
    with pytest.raises(WriteError, match=r"no space left: it takes 1\.8 MB, 0\.\d MB are free"):
        train(store, 1, said)
    for old in said[:2]:
        files.remove_tree(tmpfs / "checkpoints" / old)
    train(store, 1, said)
    assert store.load().name == said[-1] == "000003-step-00000000"


def test_a_limit_on_the_size_of_files(folder: Path) -> None:
    resource = pytest.importorskip("resource")
    store = CheckpointStore(folder)
    store.save({}, {}, {"step": 0})
    store.join()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        store.save({"w": torch.randn(10)}, {"m": torch.randn(150_000)}, {"step": 9})
        with pytest.raises(WriteError, match=f"cannot be written: {os.strerror(errno.EFBIG)}; earlier ones are intact"):
            store.join()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(path.name for path in folder.iterdir()) == ["000000-step-00000000", "last"]
    store.save({}, {}, {"step": 9})
    store.join()
    assert store.load().name == "000001-step-00000009"


@pytest.fixture
def no_file_longer_than() -> Iterator[Callable[[int], None]]:
    """Sets a limit on the size of all files that this process writes: 0 is a disk with no byte free."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [0, 1, 200, 700, 1500, 3000, 20_000])
@pytest.mark.parametrize("use", ["start", "resume"])
def test_no_room_at_a_start_or_a_resume_is_one_line(
    use: str,
    size: int,
    garments: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    no_file_longer_than: Callable[[int], None],
) -> None:
    """Whatever file is the first that has no room: lock, environment, config, logs, event file, checkpoint."""
    config = small_config(tmp_path, garments, trainer__tensorboard=True, trainer__verbosity=2)
    words = ["-c", str(config), "--note", "why"]
    if use == "resume":
        run = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]}).path
        words = ["-r", str(run), "callbacks=[]", "--note", "why"]
        before = {path: path.read_bytes() for path in (run / "checkpoints").rglob("*") if path.is_file()}
    capsys.readouterr()
    no_file_longer_than(size)
    code = cli.train(words)
    no_file_longer_than(resource_infinity())
    error = capsys.readouterr().err
    assert code == 6, error
    assert len(error.splitlines()) == 1 and os.strerror(errno.EFBIG) in error and str(tmp_path) in error
    if use == "resume":
        assert {path: path.read_bytes() for path in before} == before
        assert cli.train([*words, "--force"]) == 0


def resource_infinity() -> int:
    import resource

    return resource.RLIM_INFINITY


def test_no_byte_free_at_a_start(
    tmpfs: Path, garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A real disk, filled to the brim."""
    config = small_config(tmp_path, garments, trainer__save_dir=str(tmpfs / "saved"), trainer__tensorboard=True)
    with contextlib.suppress(OSError), (tmpfs / "filler").open("wb", 0) as filler:
        while True:
            filler.write(bytes(1 << 12))
    assert cli.train(["-c", str(config)]) == 6
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1 and os.strerror(errno.ENOSPC) in error and str(tmpfs) in error


@pytest.mark.parametrize("has_locks", [True, False])
def test_a_lock_file_that_finds_no_room(
    has_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_file_longer_than: Callable[[int], None]
) -> None:
    def no_locks(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    if not has_locks:
        monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", no_locks)
    no_file_longer_than(0)
    expected = f"cannot write .*lock.*: {os.strerror(errno.EFBIG)}"
    with pytest.raises(WriteError, match=expected), lock.held(tmp_path):
        pass
    no_file_longer_than(resource_infinity())
    with lock.held(tmp_path):  # nothing is left in the way
        pass
