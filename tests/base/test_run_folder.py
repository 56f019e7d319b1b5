"""The folder of a run: never shared, locked, found again."""

from __future__ import annotations

import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from base.errors import CheckpointError, ConfigError, WriteError
from base.runs import run_dir
from base.runs.run_dir import RunDir, newest_run, resolve_resume


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return made(tmp_path, "garments")


def made(save_dir: Path, name: str) -> RunDir:
    run = RunDir.create(save_dir, name)
    (run.path / "config.yaml").write_text("name: x\n")
    return run


class Clock(datetime):
    at = datetime(2026, 11, 20, 16, 42, 3)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(run_dir, "datetime", Clock)
    monkeypatch.setattr(Clock, "at", Clock.at)
    return Clock


# --- made ------------------------------------------------------------------------------------------------------------


def test_starts_in_one_second_never_share_a_folder(tmp_path: Path, clock: type[Clock]) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(RunDir.create(tmp_path, "x").path)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stamp = tmp_path / "x" / "20261120-164203"
    assert set(paths) == {stamp, *(Path(f"{stamp}-{n}") for n in range(2, 13))}


def test_a_clock_that_goes_back_does_not_change_the_order(tmp_path: Path, clock: type[Clock]) -> None:
    made(tmp_path, "x")
    clock.at = datetime(2026, 11, 20, 15, 42, 3)  # the end of summer time
    later = made(tmp_path, "x")
    assert later.path.name == "20261120-164203-2"
    assert newest_run(tmp_path, "x") == later
    clock.at = datetime(2026, 11, 20, 16, 42, 4)
    assert made(tmp_path, "x").path.name == "20261120-164204"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b", "/etc", ".hidden", "-x", "a b", "x\n", "é", "a\\b"])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RunDir.create(tmp_path / "saved", name)
    found = f"name: not a name for a folder; found {name!r}; expected letters, digits, '.', '_' and '-'"
    assert found in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(WriteError, match=r"saved/x: the run's folder cannot be made: Not a directory"):
        RunDir.create(tmp_path / "saved", "x")


# --- found -----------------------------------------------------------------------------------------------------------


def test_what_a_resume_may_name(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    save = "000003-step-00000938"
    (run.checkpoints / save).mkdir(parents=True)
    (run.checkpoints / "best").write_text(save)
    path = run.path
    assert resolve_resume(path) == resolve_resume(str(path)) == (run, None)
    assert resolve_resume(path / "checkpoints") == (run, None)
    assert resolve_resume(path / "best") == resolve_resume(path / "checkpoints" / "best") == (run, "best")
    assert resolve_resume(path / "last") == (run, "last")
    assert resolve_resume(path / "checkpoints" / save) == resolve_resume(path / save) == (run, save)
    monkeypatch.chdir(path)
    assert resolve_resume(".") == (RunDir(Path(".")), None)
    assert resolve_resume("best") == (RunDir(Path(".")), "best")


def test_what_is_no_run_is_told(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"^{tmp_path}/none: no such run or checkpoint$") as caught:
        resolve_resume(tmp_path / "none")
    assert caught.value.exit_code == 3
    with pytest.raises(
        CheckpointError, match=f"not a run: found neither config.yaml nor .*; the newest run in it is {run.path}$"
    ):
        resolve_resume(run.path.parent)
    with pytest.raises(
        CheckpointError, match=f"^{tmp_path}: not a run: found neither config.yaml nor checkpoints/ in it$"
    ):
        RunDir.open(tmp_path)


def test_the_newest_run_of_a_name(tmp_path: Path, clock: type[Clock]) -> None:
    assert newest_run(tmp_path, "x") is None
    runs = []
    for second, name in enumerate(["x", "x-synthetic", "x", "x"]):
        clock.at = datetime(2026, 11, 20, 16, 42, second)
        runs.append(made(tmp_path, name))
        assert newest_run(tmp_path, "x") == newest_run(tmp_path, "x-synthetic") == runs[-1]
    for _ in range(9):
        last = made(tmp_path, "x-synthetic")
    assert last.path.name == "20261120-164203-9"
    last = made(tmp_path, "x-synthetic")  # -10 is after -9
    (tmp_path / "x" / "20991231-000000").mkdir()  # empty: died before it was anything
    (tmp_path / "x" / "notes").mkdir()
    assert newest_run(tmp_path, "x") == last
    assert newest_run(tmp_path, "y") is None


# --- how it stands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "state"),
    [
        (None, "killed"),
        ("", "killed"),
        ('{"format": 1}\n{"epoch": 1}\n', "killed"),
        ('{"format": 1}\n{"end": "finished"}\n', "finished"),
        ('{"end": "signal"}\n{"epoch": 2}\n', "killed"),
        ('{"end": "early_stop"}\n{"epoch": 2, "lo', "early_stop"),
        ('{"epoch": 2}\n{"end": "finis', "killed"),
        ("{not json}\n", "killed"),
        ("[1]\n", "killed"),
        ('{"end": "not_finite"}', "killed"),
    ],
)
def test_the_state_of_a_run(run: RunDir, rows: str | None, state: str) -> None:
    if rows is not None:
        (run.path / "metrics.jsonl").write_text(rows)
    assert run.state() == state
    with run.lock():
        assert run.state() == "running"
    assert run.state() == state
