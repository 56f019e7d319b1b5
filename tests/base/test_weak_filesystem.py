"""Runs train and resume where locks, links, renames or syncs are missing: Colab's Drive, NFS, mounted buckets."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from base import fit
from base.checkpoint.store import CheckpointStore
from base.errors import WriteError
from base.run import Run
from tests.small_run import assert_same, last_state, rows, small_config
from utils import files

fcntl = pytest.importorskip("fcntl")

LINES = {
    "locks": "{run}: this filesystem has no locks: the file lock.holder replaces the lock",
    "fsync": "this filesystem has no fsync: a power cut may cost the newest saves and rows",
    "directories": "this filesystem cannot sync a directory: a power cut may cost the newest saves",
    "names": "this filesystem cannot rename: saves are copied into their place",
}


def weaken(folder: Path, code: int, set_attribute: Callable[[Any, str, Any], None] = setattr) -> None:
    """Below `folder`, what changes names, locks or syncs fails with the error number `code`."""

    def below(place: Any) -> bool:
        if isinstance(place, int):
            place = os.readlink(f"/proc/self/fd/{place}") if Path("/proc/self/fd").exists() else folder
        return Path(place).is_relative_to(folder)

    def refusing(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(place: Any, *rest: Any, **options: Any) -> Any:
            if below(place):
                raise OSError(code, os.strerror(code), place)
            return real(place, *rest, **options)

        return call

    for module, name in [(os, "link"), (os, "symlink"), (os, "rename"), (os, "replace"), (os, "fsync")]:
        set_attribute(module, name, refusing(getattr(module, name)))
    set_attribute(fcntl, "flock", refusing(fcntl.flock))
    set_attribute(shutil, "disk_usage", refusing(shutil.disk_usage))


@pytest.fixture(params=["EPERM", "ENOTSUP", "ENOSYS", "EINVAL"])
def code(request: pytest.FixtureRequest) -> int:
    files.warn_once.cache_clear()
    number = getattr(errno, request.param)
    assert isinstance(number, int)
    return number


@pytest.fixture
def weak(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "drive"
    folder.mkdir()
    weaken(folder, code, monkeypatch.setattr)
    return folder


def test_saves_are_written_found_and_deleted(weak: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(weak / "checkpoints", keep=2)
    for step in range(4):
        store.save({"w": torch.full((3,), float(step))}, {}, {"step": step}, best=step == 1)
    store.join()
    assert store.names() == ["000001-step-00000001", "000002-step-00000002", "000003-step-00000003"]
    assert store.load().weights()["w"].tolist() == [3.0] * 3
    assert store.load("best").info["step"] == 1
    assert sorted(path.name for path in (weak / "checkpoints").iterdir()) == [*store.names(), "best", "last"]
    assert [record.getMessage() for record in caplog.records] == [
        LINES[what] for what in ("directories", "fsync", "names")
    ]


def test_a_copy_that_finds_no_room_leaves_no_save(weak: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(weak / "checkpoints")
    store.save({"w": torch.zeros(3)}, {}, {"step": 0})
    store.join()
    real = files.Disk.create

    def create(disk: files.Disk, path: Path) -> int:
        if path.parent.name.startswith("000001") and path.name == "model.safetensors":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(disk, path)

    monkeypatch.setattr(files.Disk, "create", create)
    store.save({"w": torch.zeros(3)}, {}, {"step": 1})
    with pytest.raises(WriteError, match="No space left on device; earlier ones are intact"):
        store.join()
    assert sorted(path.name for path in store.folder.iterdir()) == ["000000-step-00000000", "last"]


@pytest.fixture(scope="module")
def reference(garments: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The same run, left alone, on a filesystem that has everything."""
    return fit(small_config(tmp_path_factory.mktemp("reference"), garments))


def same(run: Run, reference: Run) -> None:
    assert_same(rows(run), rows(reference))
    assert_same(last_state(run), last_state(reference))


def test_a_run_trains_and_resumes_and_so_does_its_copy(
    weak: Path, garments: Path, reference: Run, caplog: pytest.LogCaptureFixture
) -> None:
    config = small_config(weak, garments)
    stopped = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]})
    copy = stopped.path.with_name("20010101-000000")
    shutil.copytree(stopped.path, copy)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(said) == sorted(line.format(run=stopped.path) for line in LINES.values())
    for path in (stopped.path, copy):
        same(fit(resume=path, overrides={"callbacks": []}), reference)
        assert not (path / "lock.holder").exists()


DRIVER = """
import os, signal, sys
from pathlib import Path
from base import fit
from base.loop.base_trainer import BaseTrainer
from tests.base.test_weak_filesystem import weaken

BaseTrainer.stop = lambda self, reason: os.kill(os.getpid(), signal.SIGKILL)
weaken(Path(sys.argv[1]), int(sys.argv[2]))
fit(sys.argv[3], {"callbacks": [{"type": "StopAt", "args": {"step": 10}}]})
"""


@pytest.mark.parametrize("code", ["ENOTSUP"], indirect=True)
def test_a_killed_run_resumes(weak: Path, code: int, garments: Path, reference: Run) -> None:
    config = small_config(weak, garments)
    command = [sys.executable, "-c", DRIVER, str(weak), str(code), str(config)]
    ended = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (path,) = (weak / "saved" / "small").iterdir()
    assert json.loads((path / "lock.holder").read_bytes())["pid"] > 0
    same(fit(resume=path, overrides={"callbacks": []}), reference)
