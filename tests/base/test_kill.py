"""kill -9 of a real process at chosen instants, and what else it may meet: resumed, the run ends as if nothing had
happened, to the last bit."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from base import CALLBACKS, Callback, fit
from base.checkpoint.store import CheckpointStore
from base.errors import WriteError
from base.run import Run
from base.runs.run_dir import RunDir
from tests.small_run import assert_same_run, small_config

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no kill -9")

ROOT = Path(__file__).resolve().parents[2]
RICH: dict[str, Any] = {
    "data__transform__train": [
        {"type": "ToFloat"},
        {"type": "RandomHorizontalFlip"},
        {"type": "RandomCrop", "args": {"size": 28, "padding": 2}},
    ],
    "data__loader__batch_size": 16,
    "model": {"type": "ConvNet", "args": {"widths": [4, 4], "hidden": 8}},
    "optimizer": {"type": "AdamW", "args": {"lr": 0.01}},
    "lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.02, "total_steps": "${trainer.total_steps}"}},
    "trainer__accumulate": 2,
    "trainer__ema": {"decay": 0.9},
    "trainer__log_every": 3,
    "trainer__save_every": {"steps": 3},
    "trainer__tensorboard": True,
}
"""Three epochs of eight steps, with dropout and batch norm in the network; saves are 0 (step 0), then at the steps
3, 6, 8 (end of the epoch), 9, 12 ..."""

DRIVER = """
import os, signal, sys
from base import cli
from base.loop.base_trainer import BaseTrainer
from base.checkpoint.store import CheckpointStore
from logger.run_log import RunLogger
from trainer.supervised import Trainer
from utils import files


def kill(owner, name, number, after=False, counts=lambda *args: True, by=signal.SIGKILL):
    "A signal to itself before, or right after, the `number`-th call of `owner.name` that counts."
    method, seen = getattr(owner, name), 0

    def counted(*args, **options):
        nonlocal seen
        seen += counts(*args)
        now = seen == number and counts(*args)
        if now and not after:
            os.kill(os.getpid(), by)
        result = method(*args, **options)
        if now and after:
            os.kill(os.getpid(), by)
        return result

    setattr(owner, name, counted)


def commits(disk, source, target):
    return target.parent.name == "checkpoints" and "-step-" in target.name and source.name.startswith(files.TEMPORARY)


exec(sys.argv[1])
sys.exit(cli.train(sys.argv[2:]))
"""
MOMENTS = {
    "in a step of the second epoch, the weights just changed": "kill(BaseTrainer, 'update', 13, True)",
    "in the validation of the second epoch": "kill(Trainer, 'eval_step', 8)",
    "in a save, all written and not yet renamed": "kill(files.Disk, 'replace', 5, counts=commits)",
    "right after a save, the pointers not yet turned": "kill(files.Disk, 'replace', 5, True, counts=commits)",
    "in save 0": "kill(files.Disk, 'replace', 1, counts=commits)",
    "at the end of an epoch, its row written and not yet saved": "kill(RunLogger, 'row', 2, True)",
}


def python(*argv: object) -> int:
    return subprocess.run([sys.executable, *map(str, argv)], cwd=ROOT, capture_output=True, timeout=120).returncode


def scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a run, by tag: each tag's steps must increase. Tags of the clock are left out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(run.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" and not value.tag.startswith("system/"):
                    found.setdefault(value.tag, []).append((event.step, value.tensor.float_val[0]))
    for tag, points in found.items():
        steps = [step for step, _ in points]
        assert steps == sorted(set(steps)), f"{tag}: {steps}"
    return found


@pytest.fixture(scope="module")
def start(garments: Path) -> Callable[[Path], Path]:
    return lambda folder: small_config(folder, garments, **RICH)


@pytest.fixture(scope="module")
def whole(start: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(start(tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(moment: str, start: Callable[[Path], Path], whole: Run, tmp_path: Path) -> None:
    config = start(tmp_path)
    assert python("-c", DRIVER, MOMENTS[moment], "-c", config) == -signal.SIGKILL
    (run,) = (tmp_path / "saved" / "small").iterdir()
    assert "end" not in (run / "metrics.jsonl").read_text()
    resumed = fit(resume=run)
    assert resumed.reason == "finished"
    assert_same_run(whole, resumed)
    assert scalars(run) == scalars(whole.path)
    assert not list(run.rglob(".tmp-*"))


def test_a_signal_in_the_last_save_loses_nothing(start: Callable[[Path], Path], whole: Run, tmp_path: Path) -> None:
    """Training is over by then; of the two saves at step 24 the second is the one that says so."""
    last = "counts=lambda *args: commits(*args) and args[2].name.endswith('24'), by=signal.SIGTERM"
    code = python("-c", DRIVER, f"kill(files.Disk, 'replace', 2, {last})", "-c", start(tmp_path))
    assert code in (0, 128 + signal.SIGTERM)
    (run,) = (tmp_path / "saved" / "small").iterdir()
    assert_same_run(whole, cast(Run, RunDir.open(run)))


@pytest.mark.parametrize("left", ["damaged", "moved aside by a resume that was killed then"])
def test_a_finished_run_without_its_last_save_is_finished_again(left: str, whole: Run, tmp_path: Path) -> None:
    shutil.copytree(whole.path, tmp_path / "run")
    saves = tmp_path / "run" / "checkpoints"
    last = (saves / "last").read_text().strip()
    if left == "damaged":
        (saves / last / "state.pt").write_bytes(b"")
    else:
        (saves / "rejected").mkdir()
        (saves / last).rename(saves / "rejected" / last)
    resumed = fit(resume=tmp_path / "run")
    assert_same_run(whole, resumed)
    assert scalars(resumed.path) == scalars(whole.path)


def test_no_room_for_the_first_save(
    start: Callable[[Path], Path], whole: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=10**9, free=0))
        with pytest.raises(WriteError, match="there is no earlier one"):
            fit(start(tmp_path))
    (run,) = (tmp_path / "saved" / "small").iterdir()
    assert_same_run(whole, fit(resume=run))


def test_what_is_compared_is_there(whole: Run) -> None:
    shown = scalars(whole.path)
    assert shown.keys() >= {"loss/train", "loss/val", "accuracy/val", "lr", "grad_norm", "loss/step", "best/val_loss"}
    assert [step for step, _ in shown["grad_norm"]] == [3, 6, 8, 9, 12, 15, 16, 18, 21, 24]


@CALLBACKS.register
class StepsOnDisk(Callback):
    """Notes at each epoch's end up to which step a kill would leave the run."""

    seen: ClassVar[list[int]] = []

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        self.seen.append(max((int(name.rpartition("-")[2]) for name in trainer.store.names()), default=-1))


def test_a_kill_after_an_epochs_end_costs_at_most_that_epoch(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slow the disk is: nothing is written here until the loop waits for it."""
    waiting, write, join = threading.Event(), CheckpointStore._write, CheckpointStore.join

    def write_late(store: CheckpointStore, *args: Any) -> None:
        assert waiting.wait(60)
        write(store, *args)

    def tell_and_join(store: CheckpointStore) -> None:
        waiting.set()
        join(store)
        waiting.clear()

    monkeypatch.setattr(CheckpointStore, "_write", write_late)
    monkeypatch.setattr(CheckpointStore, "join", tell_and_join)
    monkeypatch.setattr(StepsOnDisk, "seen", [])
    fit(small_config(tmp_path, garments), {"callbacks": ["StepsOnDisk"]})
    assert StepsOnDisk.seen == [0, 4, 8]  # the ends of the epochs are at the steps 4, 8 and 12
