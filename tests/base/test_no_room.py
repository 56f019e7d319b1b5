"""A disk that is full, or refuses: one line with cause and path, earlier saves intact, and on once there is room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from base.errors import WriteError
from base.saving.checkpoint import CheckpointStore
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
    Usage.total = 0  # a file system that does not say
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
