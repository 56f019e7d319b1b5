"""The lock of a run."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from base.errors import CheckpointError, WriteError
from base.runs import lock
from base.runs.run_dir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir.create(tmp_path, "garments")
    (run.path / "config.yaml").write_text("name: x\n")
    return run


def test_a_run_is_locked_for_one_process_which_is_named(run: RunDir) -> None:
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


HOLDER = """
import os, sys, time
from base.runs.run_dir import RunDir
with RunDir.open(sys.argv[1]).lock():
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
def test_the_lock_is_free_at_once_after_kill_9_though_a_worker_lives_on(run: RunDir) -> None:
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
def test_a_child_that_leaves_the_block_takes_nothing_with_it(run: RunDir, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("contents")
    child = -1
    try:
        with run.lock():
            child = os.fork()
            if child == 0:
                descriptor = os.open(other, os.O_RDWR)  # gets the number of the one that was closed
                raise KeyboardInterrupt
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert run.is_locked()
            assert json.loads((run.path / "lock").read_bytes())["pid"] == os.getpid()
    finally:
        if child == 0:
            os._exit(os.fstat(descriptor).st_size != len("contents"))


def test_a_moment_of_another_look_is_waited_for(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")
    real, looks = fcntl.flock, iter([True, True, False, False])

    def busy(descriptor: int, operation: int) -> None:
        if next(looks):
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", busy)
    with run.lock():
        pass


def test_two_that_look_at_once_do_not_take_each_other_for_the_holder(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run.lock():
        pass
    real, looks = lock._is_free, []

    def look(descriptor: int) -> bool:
        free = real(descriptor)
        looks.append(free)
        if len(looks) == 1:
            assert not run.is_locked()  # while this one still has it open
        return free

    monkeypatch.setattr(lock, "_is_free", look)
    assert not run.is_locked()
    assert looks == [True, True]


def test_a_folder_that_cannot_be_written_is_not_locked(run: RunDir) -> None:
    (run.path / "lock").mkdir()
    with pytest.raises(WriteError, match=r"/lock: the run cannot be locked: Is a directory"), run.lock():
        pass


@pytest.fixture(params=["ENOSYS", "ENOLCK", "ENOTSUP", "EOPNOTSUPP", "EINVAL"])
def no_locks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(getattr(errno, request.param), "Operation not supported")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", refuse)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_a_file_holds_the_run(run: RunDir, caplog: pytest.LogCaptureFixture) -> None:
    with run.lock():
        assert [record.getMessage() for record in caplog.records] == [
            f"{run.path}: this filesystem has no locks: the file lock.holder replaces the lock"
        ]
        assert run.state() == "running"
        found = (
            f"in use by process {os.getpid()} on .*; "
            f"if that process is gone, or this is a copy of its run, delete {run.path}/lock.holder"
        )
        with pytest.raises(CheckpointError, match=found) as caught, run.lock():
            pass
        assert caught.value.exit_code == 3
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
        ({"pid": "no number"}, True),
        ({"pid": 2**70}, True),
    ],
)
def test_without_locks_the_file_of_a_dead_process_is_taken_over(
    run: RunDir, change: dict[str, Any], alive: bool
) -> None:
    """On every such filesystem: filelock's own SoftFileLock does it only where two names can be exchanged."""
    holder = json.loads(lock._this_process()) | change
    (run.path / "lock").touch()
    (run.path / "lock.holder").write_text(" " + json.dumps(holder))
    assert run.is_locked() == alive
    if alive:
        with pytest.raises(CheckpointError, match=f"process {holder['pid']} on {holder['host']}"), run.lock():
            pass
    else:
        with run.lock():
            assert run.is_locked()
        assert not run.is_locked()
        assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "lock"]


@pytest.mark.usefixtures("no_locks")
def test_without_locks_half_a_file_is_somebody_who_is_writing_it(run: RunDir) -> None:
    (run.path / "lock").touch()
    (run.path / "lock.holder").touch()
    assert run.is_locked()
    with pytest.raises(CheckpointError, match=r"process \? on \?"), run.lock():
        pass


@pytest.mark.usefixtures("no_locks")
def test_of_two_that_take_over_the_file_of_a_dead_process_one_holds_the_run(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = run.path / "lock.holder"
    dead = json.loads(lock._this_process()) | {"pid": 2**22 + 1}
    marker.write_text(" " + json.dumps(dead))
    other = json.loads(lock._this_process()) | {"host": "elsewhere"}
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: marker.write_text(" " + json.dumps(other)))
    with pytest.raises(CheckpointError, match=r"in use by process \d+ on elsewhere"), run.lock():
        pass
    assert json.loads(marker.read_bytes())["host"] == "elsewhere"
