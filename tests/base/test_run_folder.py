"""The folder of a run: never shared, locked, found again."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from base import run_folder
from base.errors import CheckpointError, ConfigError, WriteError
from base.run_folder import RunFolder, newest_run, resolve_resume


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return made(tmp_path, "garments")


def made(save_dir: Path, name: str) -> RunFolder:
    run = RunFolder.create(save_dir, name)
    (run.path / "config.yaml").write_text("name: x\n")
    return run


class Clock(datetime):
    at = datetime(2026, 11, 20, 16, 42, 3)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
        return cls.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[Clock]:
    monkeypatch.setattr(run_folder, "datetime", Clock)
    monkeypatch.setattr(Clock, "at", Clock.at)
    return Clock


# --- made ------------------------------------------------------------------------------------------------------------


def test_starts_in_one_second_never_share_a_folder(tmp_path: Path, clock: type[Clock]) -> None:
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(RunFolder.create(tmp_path, "x").path)) for _ in range(12)]
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
        RunFolder.create(tmp_path / "saved", name)
    found = f"name: not a name for a folder; found {name!r}; expected letters, digits, '.', '_' and '-'"
    assert found in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("a file")
    with pytest.raises(WriteError, match=r"saved/x: the run's folder cannot be made: Not a directory"):
        RunFolder.create(tmp_path / "saved", "x")


# --- found -----------------------------------------------------------------------------------------------------------


def test_what_a_resume_may_name(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert resolve_resume(".") == (RunFolder(Path(".")), None)
    assert resolve_resume("best") == (RunFolder(Path(".")), "best")


def test_what_is_no_run_is_told(run: RunFolder, tmp_path: Path) -> None:
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
        RunFolder.open(tmp_path)


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


# --- locked ----------------------------------------------------------------------------------------------------------


def test_a_run_is_locked_for_one_process_which_is_named(run: RunFolder) -> None:
    with run.lock():
        with pytest.raises(CheckpointError) as caught, run.lock():
            pass
        found = rf"{run.path} is in use by process {os.getpid()} on \S+ since 20[-\d]+ [:\d]+; wait for it, or stop it"
        assert re.fullmatch(found, str(caught.value))
        assert caught.value.exit_code == 3
        assert run.is_locked()
    assert not run.is_locked()
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass
    assert run_folder._descriptors == set()


HOLDER = """
import os, sys, time
from base.run_folder import RunFolder
with RunFolder.open(sys.argv[1]).lock():
    child = os.fork()
    if not child:
        sys.stdin.close()
        os.close(1), os.close(2)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork, nothing to inherit")
def test_the_lock_is_free_at_once_after_kill_9_though_a_worker_lives_on(run: RunFolder) -> None:
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            with pytest.raises(CheckpointError, match=f"in use by process {process.pid} on"), run.lock():
                pass
            assert run.state() == "running"
            process.kill()
            process.wait()
            os.kill(worker, 0)
            with run.lock():
                assert json.loads((run.path / "lock").read_bytes())["pid"] == os.getpid()
            assert run.state() == "killed"
        finally:
            os.kill(worker, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_child_that_leaves_the_block_takes_nothing_with_it(run: RunFolder) -> None:
    with run.lock():
        child = os.fork()
        if not child:
            try:
                with open(os.devnull):  # takes the number of the descriptor that was closed
                    raise SystemExit
            finally:
                os._exit(len(run_folder._descriptors))
        assert os.waitpid(child, 0)[1] == 0
        assert run.is_locked()
        assert json.loads((run.path / "lock").read_bytes())["pid"] == os.getpid()


def test_a_moment_of_another_look_is_waited_for(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    real, looks = run_folder._system_lock, iter([True, True, False])

    def busy(descriptor: int, shared: bool = False) -> None:
        if next(looks):
            raise BlockingIOError
        real(descriptor, shared)

    monkeypatch.setattr(run_folder, "_system_lock", busy)
    with run.lock():
        pass


def test_a_folder_that_cannot_be_written_is_not_locked(run: RunFolder) -> None:
    (run.path / "lock").mkdir()
    with pytest.raises(WriteError, match=r"/lock: the run cannot be locked: Is a directory"), run.lock():
        pass


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, shared: bool = False) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(run_folder, "_system_lock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_holds_the_run(run: RunFolder) -> None:
    with run.lock():
        assert run.state() == "running"
        found = f"in use by process {os.getpid()} on .*; if that is gone, delete {run.path}/lock.holder"
        with pytest.raises(CheckpointError, match=found), run.lock():
            pass
        assert run.is_locked()
    assert not run.is_locked()
    assert not (run.path / "lock.holder").exists()


@pytest.mark.usefixtures("no_locks")
@pytest.mark.parametrize(
    ("change", "alive"),
    [
        ({}, True),
        ({"pid": 2**22 + 1}, False),  # beyond the largest process number
        ({"born": "1"}, False),  # the number was given to another process since
        ({"host": "elsewhere"}, True),  # cannot be known here
    ],
)
def test_without_locks_the_file_of_a_dead_process_is_taken_over(
    run: RunFolder, change: dict[str, Any], alive: bool
) -> None:
    holder = run_folder._this_process() | change
    (run.path / "lock").touch()
    (run.path / "lock.holder").write_text(json.dumps(holder))
    assert run.is_locked() == alive
    if alive:
        with pytest.raises(CheckpointError, match=f"process {holder['pid']} on {holder['host']}"), run.lock():
            pass
    else:
        with run.lock():
            assert run.is_locked()
        assert not run.is_locked()


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
def test_the_state_of_a_run(run: RunFolder, rows: str | None, state: str) -> None:
    if rows is not None:
        (run.path / "metrics.jsonl").write_text(rows)
    assert run.state() == state
    with run.lock():
        assert run.state() == "running"
    assert run.state() == state
