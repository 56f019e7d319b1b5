"""How a run ends: in its last test, and with callbacks and a writer that fail."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from base import CALLBACKS, TRAINERS, Callback, fit
from base.checkpoint.store import CheckpointStore
from base.errors import NotFiniteError
from base.runs.run_dir import RunDir
from tests.small_run import rows, small_config
from trainer import Trainer
from utils import files

TEST = {"trainer__test_at_end": True, "trainer__epochs": 1}


@TRAINERS.register
class Stopped(Trainer):
    """Asked to end, or broken, in its test; draws there, too."""

    fault: BaseException | None = None
    active = False

    def eval_step(self, batch: Any) -> dict[str, torch.Tensor]:
        if len(batch[0]) == 96 and self.active:
            if self.fault is not None:
                raise self.fault
            os.kill(os.getpid(), signal.SIGTERM)
        terms = super().eval_step(batch)
        return {"loss": terms["loss"] + torch.rand(())}


@pytest.fixture
def config(garments: Path, tmp_path: Path) -> Path:
    changes: dict[str, Any] = {**TEST, "trainer__type": "Stopped", "data__loader__eval_batch_size": 96}
    return small_config(tmp_path, garments, **changes)


def test_a_signal_in_the_last_test_leaves_a_run_that_tests_on_resume(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(config)
    monkeypatch.setattr(Stopped, "active", True)
    sets = {"a": held_out(config), "b": held_out(config)}  # of a batch each: the signal comes in the first
    run = fit(config, {"data.test": sets})
    assert (run.reason, run.signal) == ("signal", signal.SIGTERM)
    assert [row.get("end") or row.get("phase") for row in rows(run)[1:]] == ["epoch", "signal"]
    monkeypatch.setattr(Stopped, "active", False)
    resumed = fit(resume=run.path)
    assert resumed.reason == "finished"
    assert [row.get("end") or row.get("phase") for row in rows(resumed)[1:]] == ["epoch", "test", "finished"]
    assert rows(resumed)[2]["test_a_loss"] == rows(whole)[2]["test_loss"]


def held_out(config: Path) -> Any:
    train = yaml.safe_load(config.read_text())["data"]["train"]
    return {"type": train["type"], "args": {**train["args"], "train": False}}


def test_a_run_that_fails_in_its_last_test_is_not_over(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stopped, "active", True)
    monkeypatch.setattr(Stopped, "fault", NotImplementedError("no test"))
    with pytest.raises(NotImplementedError):
        fit(config)
    (path,) = (config.parent / "saved" / "small").iterdir()
    assert RunDir(path).state() == "error"
    monkeypatch.setattr(Stopped, "active", False)
    assert [row.get("phase") for row in rows(fit(resume=path))[1:]] == ["epoch", "test", None]


def test_a_run_that_was_killed_in_its_last_test_tests_on_resume(config: Path) -> None:
    whole = fit(config)
    expected = rows(whole)
    metrics = whole.path / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True)
    metrics.write_text("".join(lines[:-2]) + lines[-2][:20])  # the test's row is torn, the end's is missing
    assert RunDir(whole.path).state() == "killed"
    assert rows(fit(resume=whole.path)) == expected


@CALLBACKS.register
class Raises(Callback):
    def on_fit_end(self, trainer: Any, reason: str) -> None:
        raise KeyError("no such plot")


@CALLBACKS.register
class Notes(Callback):
    reasons: list[str] = []  # noqa: RUF012

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        self.reasons.append(reason)


def test_a_callback_that_fails_at_the_end_takes_nothing_with_it(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The last save fails, after the callback: both are told, the other callbacks are called, log and lock are free."""
    monkeypatch.setattr(Notes, "reasons", [])
    real, released = files.Disk.fsync, threading.Event()

    def fail(self: Any, descriptor: int) -> None:
        if threading.current_thread().name == "checkpoint writer" and released.is_set():
            raise OSError(errno.EIO, "I/O error")
        real(self, descriptor)

    @CALLBACKS.register
    class DiskFails(Callback):
        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            trainer.store.join()
            released.set()

    monkeypatch.setattr(files.Disk, "fsync", fail)
    config = small_config(tmp_path, garments, trainer__epochs=1, callbacks=["DiskFails", "Raises", "Notes"])
    with pytest.raises(KeyError, match="no such plot"):
        fit(config)
    assert Notes.reasons == ["finished"]
    assert "the checkpoint cannot be written: I/O error" in caplog.text
    assert "checkpoint writer" not in [thread.name for thread in threading.enumerate()]
    (path,) = (tmp_path / "saved" / "small").iterdir()
    assert RunDir(path).state() == "finished" and len(CheckpointStore(path / "checkpoints").names()) == 1


def test_the_first_error_is_what_a_run_ends_with(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    @TRAINERS.register
    class Infinite(Trainer):
        def compute_loss(self, output: Any, target: Any, batch: Any) -> Any:
            return super().compute_loss(output, target, batch) * (float("inf") if self.model.training else 1.0)

    config = small_config(tmp_path, garments, trainer__type="Infinite", callbacks=["Raises"])
    with pytest.raises(NotFiniteError, match="the loss is inf"):
        fit(config)
    assert "KeyError: 'no such plot'" in caplog.text
