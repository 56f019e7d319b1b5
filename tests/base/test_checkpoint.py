"""The store of checkpoints: what is kept, what is found again, what is said when it cannot be."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError, WriteError
from utils import files


class Quick(files.Disk):
    def fsync(self, descriptor: int) -> None:
        pass

    def sync_folder(self, path: Path) -> None:
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "disk", Quick())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def save(store: CheckpointStore, number: int, best: bool = False, **more: Any) -> None:
    store.save({"w": torch.full((4,), float(number))}, {"n": number}, {"step": 10 * number}, best=best, **more)


def filled(folder: Path, count: int, best: tuple[int, ...] = (), keep: int = 100) -> CheckpointStore:
    store = CheckpointStore(folder, keep=keep)
    for number in range(count):
        save(store, number, number in best)
    store.join()
    return store


def name(number: int) -> str:
    return f"{number:06d}-step-{10 * number:08d}"


def assert_true(value: bool) -> None:
    assert value


def damage(folder: Path, number: int, file: str = "state.pt") -> None:
    path = folder / name(number) / file
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])


# --- what is written, when -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # of the test runner's threads
def test_no_process_is_forked_beside_a_thread_that_writes(folder: Path) -> None:
    forking = threading.Event()
    os.register_at_fork(before=forking.set)  # the last one registered is the first one called
    store, done = CheckpointStore(folder), list[str]()
    save(store, 0, before_commit=lambda: assert_true(forking.wait(60)), after_commit=done.append)
    child = os.fork()
    if child == 0:
        os._exit(done != [name(0)])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.join()


def test_a_save_holds_what_it_was_given(folder: Path) -> None:
    store = CheckpointStore(folder)
    info = {
        "step": 0,
        "epoch": 0,
        "phase": "train",
        "metrics": {"val_loss": float("nan"), "lr": 1e-3},
        "data": ("real", None),
    }
    store.save({"w": torch.ones(2)}, {"rng": torch.arange(3), "best": float("inf")}, info)
    store.join()
    saved = store.load()
    assert saved.name == "000000-step-00000000"
    assert saved.path == folder / saved.name
    expected = {**info, "metrics": {"val_loss": None, "lr": 1e-3}, "data": ["real", None], "save": 0, "best": False}
    assert expected.items() <= saved.info.items()
    assert saved.info["format"] == 2
    assert saved.state["best"] == float("inf")
    assert torch.equal(saved.state["rng"], torch.arange(3))
    assert saved.raw() is None


def test_info_that_json_cannot_hold_is_refused_and_named(folder: Path) -> None:
    store = CheckpointStore(folder)
    with pytest.raises(
        CheckpointError, match=r"info\['metrics'\]\['acc'\]\[0\] cannot be saved: found Tensor, expected num"
    ):
        store.save({}, {}, {"step": 0, "metrics": {"acc": [torch.ones(1)]}})
    assert not folder.exists()


class Held(Quick):
    """Writes only after it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()

    def create(self, path: Path) -> int:
        assert self.go.wait(30)
        return super().create(path)


def test_training_goes_on_while_a_save_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Held()
    monkeypatch.setattr(files, "disk", disk)
    store = CheckpointStore(folder)
    weight, moments, said = torch.zeros(1000), {"m": [torch.zeros(1000)]}, []
    store.save({"w": weight}, moments, {"step": 0}, after_commit=said.append)
    weight += 1
    moments["m"][0] += 1
    moments["m"].append(torch.zeros(1))
    assert (store.names(), said) == ([], [])
    disk.go.set()
    store.join()
    assert said == ["000000-step-00000000"]
    saved = store.load()
    assert not saved.weights()["w"].any()
    assert len(saved.state["m"]) == 1
    assert not saved.state["m"][0].any()


def test_logs_are_synced_before_the_save_exists_and_it_is_said_after(folder: Path) -> None:
    store = CheckpointStore(folder)
    seen = []
    save(
        store,
        0,
        before_commit=lambda: seen.append((threading.current_thread().name, store.names())),
        after_commit=lambda said: seen.append((said, store.names())),
    )
    store.join()
    assert seen == [("checkpoint writer", []), (name(0), [name(0)])]


def test_a_save_waits_for_the_one_before_and_raises_what_that_met(folder: Path) -> None:
    store = CheckpointStore(folder)

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    save(store, 0, before_commit=fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        save(store, 1)
    store.join()
    assert list(folder.iterdir()) == []
    save(store, 0)
    store.join()
    assert store.load().state["n"] == 0


def test_an_error_for_the_user_passes_as_it_is(folder: Path) -> None:
    store = CheckpointStore(folder)

    def full() -> None:
        raise WriteError("metrics.jsonl: disk full") from OSError(errno.ENOSPC, "No space left on device")

    save(store, 0, before_commit=full)
    with pytest.raises(WriteError, match=r"^metrics\.jsonl: disk full$"):
        store.join()


# --- what is kept ----------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    improved=st.lists(st.booleans(), min_size=1, max_size=9),
    keep=st.integers(1, 4),
    keep_every=st.none() | st.integers(1, 4),
    again=st.booleans(),
)
def test_retention(
    tmp_path_factory: pytest.TempPathFactory, improved: list[bool], keep: int, keep_every: int | None, again: bool
) -> None:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    store = CheckpointStore(folder, keep, keep_every)
    best = None
    for number, better in enumerate(improved):
        if again:  # as after a resume
            store = CheckpointStore(folder, keep, keep_every)
        save(store, number, better)
        store.join()
        best = number if better else best
        kept = [
            n
            for n in range(number + 1)
            if n > number - keep or n == best or (keep_every is not None and n % keep_every == 0)
        ]
        assert store.names() == [name(n) for n in kept]
        assert store.best() == (None if best is None else name(best))
        assert (folder / "last").read_text() == f"{name(number)}\n"
        assert (folder / "best").exists() == (best is not None)
        if best is not None:
            assert (folder / "best").read_text() == f"{name(best)}\n"


def test_an_old_save_that_cannot_be_deleted_does_not_end_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Busy(Quick):
        def rmdir(self, path: Path) -> None:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")  # NFS, while someone reads a file in it

    monkeypatch.setattr(files, "disk", Busy())
    store = filled(folder, 2, keep=1)
    assert store.names() == [name(1)]
    assert "an old checkpoint could not be deleted: Directory not empty" in caplog.text
    monkeypatch.undo()
    store.clean()
    assert sorted(path.name for path in folder.iterdir()) == [name(1), "last"]


# --- numbers and pointers --------------------------------------------------------------------------------------------


def test_a_number_is_never_given_twice(folder: Path) -> None:
    filled(folder, 5)
    damage(folder, 4)
    store = CheckpointStore(folder)
    assert store.load().name == name(3)
    store.abandon(name(1), "20260101-000000")
    assert store.names() == [name(0), name(1)]
    for path in (folder / "rejected", folder / "abandoned-20260101-000000"):
        for entry in path.iterdir():
            files.remove_tree(entry)  # by hand
    store = CheckpointStore(folder)
    store.clean()
    save(store, 5)
    store.join()
    assert store.names()[-1] == name(5)


@pytest.mark.parametrize("lost", ["rejected", "abandoned-20260101-000000"])
def test_moved_saves_keep_their_numbers_when_last_is_gone_too(folder: Path, lost: str) -> None:
    filled(folder, 3)
    (folder / lost).mkdir()
    (folder / name(2)).rename(folder / lost / name(2))
    (folder / "last").unlink()
    store = CheckpointStore(folder)
    save(store, 3)
    store.join()
    assert store.names() == [name(0), name(1), name(3)]


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\xfe", b"../../x", b"000009-step-00000090", b"000000-step-00000000", "dir"]
)
@pytest.mark.parametrize("pointer", ["last", "best"])
def test_a_pointer_that_is_lost_or_wrong(folder: Path, pointer: str, content: bytes | str | None) -> None:
    store = filled(folder, 4, best=(1, 2))
    path = folder / pointer
    path.unlink()
    if content == "dir":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)
    assert (store.resolve("last"), store.resolve("best")) == (name(3), name(2))
    assert (store.load("last").name, store.load("best").name) == (name(3), name(2))
    if content == "dir":
        return
    store.clean()
    assert (folder / "best").read_text() == f"{name(2)}\n"
    if content != b"000009-step-00000090":  # remembered: that number was given
        assert (folder / "last").read_text() == f"{name(3)}\n"


def test_best_goes_back_with_the_saves(folder: Path) -> None:
    store = filled(folder, 4, best=(1, 3))
    store.abandon(name(2), "20260101-000000")
    assert store.load("best").name == name(1)
    store.abandon(name(0), "20260101-000000")
    with pytest.raises(CheckpointError, match=f"no checkpoint 'best'; expected one of {name(0)}"):
        store.load("best")
    store.clean()
    assert not (folder / "best").exists()
    assert sorted(path.name for path in (folder / "abandoned-20260101-000000").iterdir()) == [name(1), name(2), name(3)]


# --- what is found again ---------------------------------------------------------------------------------------------


def test_damaged_saves_are_moved_aside_with_a_line_each(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = filled(folder, 4)
    damage(folder, 3)
    damage(folder, 2, "manifest.json")
    assert store.load().state["n"] == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    first, second = (record.getMessage() for record in caplog.records)
    moved = f"its bytes were changed since it was saved; moved to {folder / 'rejected'}"
    assert first == f"checkpoint rejected: {folder / name(3) / 'state.pt'}: {moved}/{name(3)}"
    assert second == f"checkpoint rejected: {folder / name(2) / 'manifest.json'}: {moved}/{name(2)}"
    assert sorted(path.name for path in (folder / "rejected").iterdir()) == [name(2), name(3)]
    caplog.clear()
    assert store.load().state["n"] == 1
    assert not caplog.records


def test_a_rejected_save_never_replaces_another(folder: Path) -> None:
    store = filled(folder, 2)
    (folder / "rejected" / name(1)).mkdir(parents=True)
    damage(folder, 1)
    assert store.load().name == name(0)
    assert sorted(path.name for path in (folder / "rejected").iterdir()) == [name(1), f"{name(1)}-2"]


def test_when_nothing_is_left_all_that_was_tried_is_named(folder: Path) -> None:
    store = CheckpointStore(folder)
    with pytest.raises(CheckpointError, match=f"^{folder}: no checkpoint to go on from: there is none$"):
        store.load()
    store = filled(folder, 2)
    damage(folder, 0)
    damage(folder, 1)
    with pytest.raises(CheckpointError, match=f"all were rejected: {name(1)}, {name(0)}$") as caught:
        store.load()
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("asked", ["best", "last", name(3)])
def test_a_named_save_fails_instead_of_falling_back(folder: Path, asked: str) -> None:
    store = filled(folder, 4, best=(1, 3))
    damage(folder, 3)
    with pytest.raises(CheckpointError, match=r"state\.pt: its bytes were changed since it was saved"):
        store.load(asked)
    damage(folder, 3, "manifest.json")
    with pytest.raises(CheckpointError, match=r"manifest\.json: its bytes were changed since it was saved"):
        store.load(asked)
    assert store.names()[-1] == name(3)


@pytest.mark.parametrize(
    "asked", ["000009-step-00000001", "../run/checkpoints/" + name(1), "rejected", "", "/etc/passwd"]
)
def test_only_saves_of_this_run_have_names(folder: Path, asked: str) -> None:
    store = filled(folder, 2)
    with pytest.raises(CheckpointError, match=f"no checkpoint '{asked}'; expected one of {name(0)}, {name(1)}"):
        store.load(asked)


def test_a_save_that_cannot_be_moved_aside_stays(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ReadOnly(Quick):
        def mkdir(self, path: Path) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

    store = filled(folder, 2)
    damage(folder, 1)
    monkeypatch.setattr(files, "disk", ReadOnly())
    assert store.load().name == name(0)
    assert "it stays in its place: Read-only file system" in caplog.text


def test_best_is_looked_for_again_when_the_run_deletes_it_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """test.py reads while train.py goes on."""
    store = filled(folder, 2, best=(0, 1))
    answers = iter([name(7), name(1)])
    monkeypatch.setattr(store, "resolve", lambda asked: next(answers))
    assert store.load("best").name == name(1)


def test_strays_are_removed_at_a_start(folder: Path) -> None:
    store = filled(folder, 1)
    (folder / f".tmp-{name(1)}").mkdir()
    (folder / f".tmp-{name(1)}" / "model.safetensors").write_text("x")
    (folder / ".tmp-last").write_text("x")
    store.clean()
    assert sorted(path.name for path in folder.iterdir()) == [name(0), "last"]
    CheckpointStore(folder.parent / "none").clean()
    assert not (folder.parent / "none").exists()
