"""Everything that changes in training is kept: a run that was stopped anywhere ends as one that never was."""

from __future__ import annotations

import math
import random
import socket
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from base import CALLBACKS, DATASETS, LOSSES, METRICS, MODELS, TRAINERS, TRANSFORMS, Callback, Metric, fit
from base.checkpoint.component_load import check, load
from base.checkpoint.component_state import ComponentStates
from base.errors import CheckpointError
from base.run import Run
from tests.small_run import assert_same_run, small_config
from trainer import Trainer


class Draws:
    """One of each kind of generator; they are never seeded again."""

    def __init__(self) -> None:
        self.torch = torch.Generator().manual_seed(3)
        self.numpy = [np.random.default_rng(3), np.random.Generator(np.random.MT19937(3))]
        self.old, self.python = np.random.RandomState(3), random.Random(3)
        self.seen = 0

    def __call__(self) -> float:
        self.seen += 1
        numbers = [torch.rand((), generator=self.torch).item(), self.old.rand(), self.python.gauss(0, 1)]
        return 0.01 * (sum(numbers) + sum(one.random() for one in self.numpy))


@DATASETS.register
class DriftingPoints(Dataset[tuple[Tensor, int]]):
    """64 samples (6,) of 3 classes, with noise that depends on what was read before."""

    def __init__(self, train: bool = True) -> None:
        generator = torch.Generator().manual_seed(1 if train else 2)
        self.inputs = torch.randn(64, 6, generator=generator)
        self.targets = (self.inputs[:, :3] + self.inputs[:, 3:]).argmax(1)
        self.classes, self.draws, self.read = ["a", "b", "c"], Draws(), np.zeros(1)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read += 1
        return self.inputs[index] + self.draws() + 1e-4 * float(self.read[0]), int(self.targets[index])


@TRANSFORMS.register
class Fading:
    """With state of its own to load and save."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 1 / (1 + self.calls))

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "array": np.arange(2)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert isinstance(state["array"], np.ndarray)
        self.calls = state["calls"]


@MODELS.register
class Recurrent(nn.Module):
    """Carries a hidden state from batch to batch, and at its 3rd training batch it adds a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.Linear(6, 8), nn.Linear(8, 3)
        self.hidden: tuple[Tensor, list[int]] | None = None
        self.register_buffer("scale", torch.ones(()), persistent=False)
        self.calls = 0

    def forward(self, x: Tensor) -> Any:
        self.calls += self.training
        if self.calls == 3 and not hasattr(self, "bias"):
            self.bias = nn.Parameter(torch.full((3,), 0.1))
        h = torch.tanh(self.layer(x) + (0 if self.hidden is None else self.hidden[0]))
        self.hidden = h.detach().mean(0), [self.calls]
        self.scale *= 1.01
        return self.out(h) * self.scale + getattr(self, "bias", 0)


@LOSSES.register
class Balancing(nn.Module):
    """A loss whose scale follows it, with a frozen teacher and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.recent, self.draws = torch.ones(()), deque[float](maxlen=3), Draws()
        self.teacher = nn.Linear(3, 3).requires_grad_(False)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        taught = self.teacher(output.detach()).square().mean()
        loss = nn.functional.cross_entropy(output, target) + 0.1 * taught * self.draws()
        self.mean = 0.9 * self.mean + 0.1 * loss.detach()
        self.recent.append(float(self.mean))
        return loss / (self.mean + 0.01 * sum(self.recent))


@METRICS.register
class Bootstrapped(Metric):
    """Counts each batch with weights that are drawn; the generator goes on from epoch to epoch."""

    def __init__(self) -> None:
        self.draws = Draws()
        super().__init__()

    def reset(self) -> None:
        self.total, self.count = torch.zeros((), dtype=torch.float64), 0

    def update(self, output: Any, target: Any) -> None:
        self.total, self.count = self.total + self.draws() * (output.argmax(1) == target).sum(), self.count + 1

    def compute(self) -> float:
        return float(self.total) / max(1, self.count)


@CALLBACKS.register
class Remembers(Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        self.losses.append(row["loss"])
        trainer.seen_losses = list(self.losses)


class Weights:
    def __init__(self) -> None:
        self.by_class, self.names = {0: 1.0, 1: 1.0}, {"low"}


@TRAINERS.register
class Adapting(Trainer):
    def __init__(self, parts: Any) -> None:
        super().__init__(parts)
        self.weights, self.again, self.evaluated_batches, self.head = Weights(), None, 0, self.model.out
        self.memory = nn.BatchNorm1d(3)
        self.factors = nn.Parameter(torch.ones(2))
        self.extra = torch.optim.SGD([self.factors], lr=0.1, momentum=0.9)

    def compute_loss(self, output: Any, target: Any, batch: Any) -> Any:
        if not self.model.training:
            self.evaluated_batches += 1
            self.ask(self.evaluated_batches, "evaluate")
            return self.criterion(output, target) * (1 + 0.01 * self.evaluated_batches)
        self.weights.by_class[0] *= 0.99
        self.weights.names.add(f"step {self.progress.step % 3}")
        self.again = self.weights
        self.factors.grad = torch.ones(2)
        self.extra.step()
        loss = self.criterion(self.memory(output), target)
        return loss * self.weights.by_class[0] * len(self.weights.names) + 0.01 * self.factors.detach().sum()

    def optimizer_step(self) -> None:
        super().optimizer_step()
        group = self.optimizer.param_groups
        if len(group) == 1 and hasattr(self.model, "bias"):
            self.optimizer.add_param_group({"params": [self.model.bias]})

    asked: tuple[str, int] = "", 0

    def ask(self, count: int, phase: str) -> None:
        if Adapting.asked == (phase, count):
            self.request.signal = 15


@CALLBACKS.register
class AsksInStep(Callback):
    def on_step_end(self, trainer: Any, terms: Any) -> None:
        trainer.ask(trainer.progress.step, "step")


def config(folder: Path, garments: Path, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "data__train": "DriftingPoints",
        "data__valid": {"type": "DriftingPoints", "args": {"train": False}},
        "data__transform": {"train": ["Fading"]},
        "data__loader": {"batch_size": 16},
        "model": "Recurrent",
        "loss": "Balancing",
        "metrics": ["Bootstrapped"],
        "callbacks": ["Remembers", "AsksInStep"],
        "trainer__type": "Adapting",
    }
    return small_config(folder, garments, **{**settings, **changes})


@pytest.fixture(scope="module")
def whole(garments: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return fit(config(tmp_path_factory.mktemp("whole"), garments))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield lambda phase, count: monkeypatch.setattr(Adapting, "asked", (phase, count))


@pytest.mark.parametrize(("phase", "count"), [("step", 2), ("step", 6), ("evaluate", 3), ("evaluate", 6)])
def test_every_state_comes_back(phase: str, count: int, whole: Run, asked: Any, garments: Path, tmp_path: Path) -> None:
    """Between two steps, before and after parameters were added, and in the midst of a validation."""
    asked(phase, count)
    run = fit(config(tmp_path, garments))
    assert run.reason == "signal"
    asked("", 0)
    resumed = fit(resume=run.path)
    assert_same_run(whole, resumed)
    mine, theirs = resumed.trainer, whole.trainer
    assert mine.seen_losses == theirs.seen_losses and mine.again is mine.weights  # type: ignore[attr-defined]


class Holder:
    def __init__(self) -> None:
        self.decay, self.calls, self.best = 0.9, 0, None
        self.layer, self.table = nn.BatchNorm1d(2), [1, 2]
        self.stream: Any = iter([1, 2])


def test_only_what_changed_is_kept_and_a_held_state_is_a_copy() -> None:
    owner = Holder()
    states = ComponentStates({"it": owner}, elsewhere=[owner.layer])
    assert states.take() == {}
    owner.calls, owner.best, owner.late = 3, torch.ones(2), "x"  # type: ignore[assignment, attr-defined]
    owner.table.append(3)
    held = states.hold()
    owner.best += 1  # type: ignore[operator]
    assert held["it"]["attributes"].keys() == {"calls", "best", "late", "table"}
    assert torch.equal(held["it"]["attributes"]["best"], torch.ones(2))
    other = Holder()
    table, fresh = other.table, ComponentStates({"it": other}, elsewhere=[other.layer])
    check(fresh, held, passed_over=False)
    load(fresh, held, {})
    assert other.table is table == [1, 2, 3] and (other.calls, other.late) == (3, "x")  # type: ignore[attr-defined]


def test_what_cannot_be_kept_is_named_once_before_training(caplog: pytest.LogCaptureFixture) -> None:
    ComponentStates({"trainer": Holder()})
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("checkpoints cannot keep trainer.stream (list_iterator): a resumed run begins them anew;")


def test_what_belongs_to_the_process_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    owner, data = Holder(), Holder()
    with (tmp_path / "log").open("w") as file, socket.socket() as connection:
        owner.stream = {"file": file, "others": [threading.Lock(), connection]}
        data.stream, owner.path, owner.module = file, tmp_path, math  # type: ignore[attr-defined]
        ComponentStates({"losses.loss": owner, "data.train.dataset": data})
    (line,) = caplog.messages
    assert line.startswith("checkpoints cannot keep losses.loss.stream.file (TextIOWrapper): a resumed run begins")


def test_a_layer_made_in_training_is_named_once_when_it_is_saved(caplog: pytest.LogCaptureFixture) -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    states = ComponentStates({"models.model": model}, weighted=["models.model"])
    states.take()
    model.append(nn.Linear(2, 2))
    states.take(), states.take()
    (line,) = caplog.messages
    assert line == (
        "checkpoints cannot rebuild models.model.1, a layer that was made in training: the run cannot be resumed from "
        "them; make the layer in __init__"
    )


def test_what_changes_in_worker_processes_is_named(garments: Path, tmp_path: Path) -> None:
    loader = {"batch_size": 16, "num_workers": 1}
    run = fit(config(tmp_path, garments, data__loader=loader, callbacks=[]), {"trainer.epochs": 1})
    (line,) = [line for line in (run.path / "train.log").read_text().splitlines() if "worker processes" in line]
    assert "such as data.train.transform.0, " in line and "data.train.dataset.draws.torch" in line
    assert line.endswith("a resumed run begins them anew; with data.loader.num_workers: 0 they are kept")


def test_what_follows_from_the_config_is_no_state(garments: Path, tmp_path: Path) -> None:
    """It would hide a loss that is changed by force."""
    run = fit(small_config(tmp_path, garments))
    newest = max((run.path / "checkpoints").glob("*-step-*"))
    assert torch.load(newest / "state.pt", weights_only=True)["state"]["components"] == {}


class Returns:
    def state_dict(self) -> dict[str, Any]:
        return {"code": print}

    def load_state_dict(self, state: Any) -> None: ...


def test_a_state_dict_that_no_save_can_hold_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"the state_dict of loss cannot be saved: found loss\.code"):
        ComponentStates({"loss": Returns()}).take()


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_frozen_teacher_is_written_once(momentum: float, garments: Path, tmp_path: Path) -> None:
    """In the loss, and as a model of its own. One that follows by hand is no frozen one."""

    @LOSSES.register
    class Taught(Balancing):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            for parameter in self.teacher.parameters():
                parameter.data.add_(momentum)
            return super().forward(output, target)

    models = {"student": {"type": "Recurrent"}, "teacher": {"type": "Recurrent", "frozen": True}}
    changes = {"model": models, "optimizer": {"type": "SGD", "args": {"lr": 0.1}}, "loss": "Taught"}
    whole = fit(config(tmp_path / "whole", garments, **changes))
    frozen = sorted((whole.path / "checkpoints").glob("frozen-*"))
    assert len(frozen) == 2
    first = fit(
        config(tmp_path / "stopped", garments, **changes), {"callbacks.1": {"type": "StopAt", "args": {"step": 6}}}
    )
    resumed = fit(resume=first.path, overrides={"callbacks.1": "AsksInStep"})
    assert_same_run(whole, resumed)
    assert sorted(path.name for path in (resumed.path / "checkpoints").glob("frozen-*")) == [p.name for p in frozen]
    newest = max((resumed.path / "checkpoints").glob("*-step-*"))
    assert not any(name.startswith("teacher.") for name in load_file(newest / "model.safetensors"))
    if momentum:
        return
    frozen[0].write_bytes(b"x")
    with pytest.raises(CheckpointError, match=frozen[0].name):
        fit(resume=max((whole.path / "checkpoints").glob("*-step-*")))
