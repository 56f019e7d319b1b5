"""The runs of the fault campaign: of many kinds, each in a folder of its own, trained by one process after another."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from base.checkpoint.store import CheckpointStore
from base.run import Run
from base.runs.run_dir import RunDir, save_number
from tests.base.test_kill import scalars
from tests.small_run import assert_same, last_state, rows, write_garments

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 300.0  # seconds that one process may take
SMALL = {"model": {"type": "ConvNet", "args": {"widths": [8, 8], "hidden": 16, "dropout": 0.2}}}
LARGE = {
    "model": {"type": "MLP", "args": {"hidden": [2400, 2400]}},  # 7.7 million weights: 92 MB with Adam's two moments
    "data.loader.batch_size": 96,
    "trainer.save_every.steps": 3,
    "trainer.keep": 2,
}
WARM_UP = {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 9}, "every": "step", "steps": 9}
KINDS: dict[str, dict[str, Any]] = {
    "in memory, EMA, saved by the clock": {
        **SMALL,
        "trainer.ema.decay": 0.9,
        "trainer.save_every.minutes": 0.004,
    },
    "loader, accumulation 3, clipping": {
        **SMALL,
        "data.loader": {"batch_size": 16, "in_memory": False},
        "trainer.accumulate": 3,
        "trainer.clip.norm": 0.5,
        "trainer.save_every.steps": 7,
    },
    "2 workers, EMA, validation inside epochs": {
        **SMALL,
        "data.loader": {"batch_size": 32, "in_memory": False, "num_workers": 2},
        "trainer.ema.decay": 0.9,
        "trainer.validate_every.steps": 11,
        "trainer.save_every.steps": 5,
    },
    "bf16, plateau, early stop": {
        **SMALL,
        "lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0, "threshold": 0.5}},
        "trainer.precision": "bf16",
        "trainer.epochs": 9,
        "trainer.early_stop": 2,
        "trainer.min_delta": 0.1,
        "trainer.save_period": 2,
    },
    "epochs of 17 steps, warm-up and cosine": {
        **SMALL,
        "lr_scheduler": [WARM_UP, {"type": "CosineAnnealingLR", "args": {"T_max": 6}}],
        "trainer.steps_per_epoch": 17,
        "trainer.epochs": 6,
        "trainer.save_every.steps": 10,
    },
    "100 MB": LARGE,
    "100 MB, EMA, bf16": {**LARGE, "trainer.ema.decay": 0.9, "trainer.precision": "bf16"},
    "slow validation": {**SMALL, "data.valid": 0.6, "data.loader": {"eval_batch_size": 1, "in_memory": False}},
}
BIG = [kind for kind in KINDS if kind.startswith("100 MB")]
USUAL = [kind for kind in KINDS if kind not in (*BIG, "slow validation")]
COUNTER = '''
import os
from base import CALLBACKS, Callback

@CALLBACKS.register
class CountSteps(Callback):
    """Writes down each step when it is done, so that a killed run tells how far it was."""

    def __init__(self, path: str) -> None:
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def on_step_end(self, trainer, terms):
        os.write(self.file, f"{trainer.progress.step}\\n".encode())
'''


class Trial:
    """One run in a folder of its own, and the processes that train it, one after the other."""

    def __init__(self, lab: Lab, kind: str, save_dir: Path | None = None) -> None:
        self.lab, self.kind = lab, kind
        self.folder = Path(tempfile.mkdtemp(dir=lab.folder))
        self.save_dir = save_dir or self.folder / "saved"
        self.processes: list[subprocess.Popen[str]] = []
        changes = {
            "device": "cpu",
            "data.train.args": {"root": str(lab.folder), "download": False},
            "trainer.epochs": 4,
            "trainer.save_dir": str(self.save_dir),
            "trainer.verbosity": 0,
            "trainer.log_every": 4,
            "plugins": ["count_steps"],
            "callbacks": [{"type": "CountSteps", "args": {"path": str(self.folder / "steps")}}],
            **KINDS[kind],
        }
        self.start = ["-c", "configs/fashion_mnist.yaml", *(f"{key}={json.dumps(changes[key])}" for key in changes)]

    def launch(self, errors: str = "errors") -> subprocess.Popen[str]:
        """Starts the run; if there is one already, resumes it."""
        argv = ["-r", str(self.run)] if self.run else self.start
        command = [sys.executable, "train.py", *argv, "--plugin", "count_steps"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(self.lab.folder)}
        with (self.folder / errors).open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=file
            )
        self.processes.append(process)
        return process

    @property
    def run(self) -> Path | None:
        return next((path.parent for path in self.save_dir.glob("fashion_mnist/*/config.yaml")), None)

    @property
    def store(self) -> CheckpointStore:
        assert self.run
        return CheckpointStore(self.run / "checkpoints")

    @property
    def errors(self) -> str:
        return (self.folder / "errors").read_text()

    def training(self, process: subprocess.Popen[str]) -> bool:
        """Whether this process holds the run's lock by now."""
        try:
            return bool(json.loads(((self.run or Path()) / "lock").read_bytes())["pid"] == process.pid)
        except (OSError, ValueError, TypeError):
            return False

    def saving(self) -> bool:
        return any(self.save_dir.glob("*/*/checkpoints/.tmp-*/"))

    def steps(self) -> list[int]:
        """The number of each step that was done, in order; those that were done again stand there again."""
        file = self.folder / "steps"
        return list(map(int, file.read_text().split())) if file.exists() else []

    def steps_done(self) -> int:
        return (self.steps() or [0])[-1]

    def is_at(self, step: int) -> bool:
        return self.steps_done() >= step

    def steps_saved(self) -> int:
        names = self.store.names() if self.run else []
        return int(names[-1].rpartition("-")[2]) if names else 0

    @property
    def steps_per_epoch(self) -> int:
        rows = (self.lab.reference(self.kind).trial.run or Path()) / "metrics.jsonl"
        return int(json.loads(rows.read_text().splitlines()[1])["step"])

    def finish(self) -> None:
        """Resumes, and compares with the run of this kind that was left alone."""
        code = ended(self.launch())
        assert code == 0, f"exit {code}: {self.errors[-500:]}"
        one, other = (trial.outcome() for trial in (self.lab.reference(self.kind).trial, self))
        assert_same(one, other)
        assert not self.saving(), "a temporary folder is left"

    def outcome(self) -> dict[str, Any]:
        """All that must be equal."""
        run = cast(Run, RunDir.open(self.run or ""))
        best = self.store.load("best")
        return {
            "rows": rows(run),
            "state": last_state(run),
            "best": {"step": best.info["step"], "weights": best.weights()},
            "scalars": scalars(run.path),
        }

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        shutil.rmtree(self.folder)


@dataclass(frozen=True)
class Reference:
    """A run that was left alone: how long it trained, how many saves it made, and how long one took."""

    trial: Trial
    seconds: float
    saves: int
    save_seconds: float


class Lab:
    """The folder of a campaign, its random numbers, and the runs that were left alone, one for each kind."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        write_garments(folder, train=960)
        (folder / "count_steps.py").write_text(COUNTER)

    @functools.cache  # noqa: B019
    def reference(self, kind: str) -> Reference:
        trial = Trial(self, kind)
        process = trial.launch()
        until(lambda: trial.training(process), process)
        begun, saving = time.monotonic(), 0.0
        while process.poll() is None:
            look = time.monotonic()
            time.sleep(0.002)
            saving += (time.monotonic() - look) * trial.saving()
        assert process.returncode == 0, trial.errors
        saves = 1 + save_number(trial.store.names()[-1])
        return Reference(trial, time.monotonic() - begun, saves, saving / saves)

    @contextmanager
    def trial(self, kind: str) -> Iterator[Trial]:
        self.reference(kind)
        trial = Trial(self, kind)
        try:
            yield trial
        finally:
            trial.close()


def until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Waits for the condition, at most until the process ends; whether it came true before."""
    end = time.monotonic() + LONGEST
    while process.poll() is None and time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.002)
    return False


def pause(seconds: float, process: subprocess.Popen[str]) -> None:
    """As long as the process lives."""
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, process)


def ended(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
