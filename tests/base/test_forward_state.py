"""A forward pass that is tried, fails or is interrupted leaves no trace."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from base import LOSSES, MODELS, TRAINERS, fit
from base.checkpoint.forward_state import ForwardState
from tests.small_run import assert_same_run, rows, small_config
from trainer import Trainer


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


@MODELS.register
class Table(Linear):
    """Makes a table at its first call, and a longer one when it is evaluated."""

    def __init__(self) -> None:
        super().__init__()
        self.table: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.table is None or (len(self.table) < 20 and not self.training):
            self.table = torch.cos(torch.arange(10.0 if self.training else 20.0))
        return super().forward(x) * self.table[:10]


@MODELS.register
class Carried(Linear):
    """Carries a state from batch to batch, and counts its calls in a buffer, a number, a list and an array."""

    def __init__(self) -> None:
        super().__init__()
        self.state: Tensor | None = None
        self.register_buffer("calls", torch.zeros(()))
        self.number, self.seen, self.array, self.named = 0, list[int](), np.zeros(1), dict[str, Tensor]()

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        self.state = y.mean(0).detach() if self.state is None else 0.5 * (self.state + y.mean(0)).detach()
        self.calls += 1
        self.number += 1
        self.seen.append(len(x))
        self.array += 1
        self.named["last"] = self.late = x
        return y + self.state


@MODELS.register
class BuiltAtFirstCall(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.built = False

    def forward(self, x: Tensor) -> Tensor:
        if not self.built:
            self.layer, self.built = nn.Linear(x[0].numel(), 10), True
        return self.layer(x.flatten(1))


@LOSSES.register
class Normed(nn.Module):
    """Divides by a running mean of itself: a plain tensor and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.count = torch.ones(()), 0
        self.register_buffer("largest", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(output, target)
        if self.training:
            self.count += 1
            self.mean = 0.5 * (self.mean + loss.detach())
            self.largest.copy_(torch.maximum(self.largest, loss.detach()))
        return loss / self.mean


def test_a_table_made_in_an_evaluation_can_be_trained_with(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, model="Table", trainer__validate_every={"steps": 2}))
    assert run.reason == "finished" and len(run.model.table) == 20


def test_the_look_before_the_start_leaves_no_trace_in_the_model(garments: Path, tmp_path: Path) -> None:
    seen: list[Any] = []

    @TRAINERS.register
    class First(Trainer):
        def train_step(self, batch: Any) -> dict[str, Tensor]:
            model: Any = self.model
            if not seen:
                seen.append(
                    (model.state, model.calls.item(), model.number, [*model.seen], model.array[0], {**model.named})
                )
                seen.append(hasattr(model, "late"))
            return super().train_step(batch)

    fit(small_config(tmp_path, garments, model="Carried", trainer__type="First", trainer__epochs=1))
    assert seen == [(None, 0.0, 0, [], 0.0, {}), False]


def test_a_layer_that_is_made_at_the_first_call_stays_and_learns(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, model="BuiltAtFirstCall"))
    assert rows(run)[3]["loss"] < 0.7 * rows(run)[1]["loss"]


def test_generators_shared_and_nested_values_are_put_back() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2))
    owner: Any = Linear()
    owner.generator, owner.numpy = torch.Generator(), np.random.default_rng(0)
    owner.nested, owner.parent, owner.wide = [{"mean": torch.zeros(2)}], [owner], torch.zeros(1).expand(3)
    undo = ForwardState([model, owner])
    first = torch.rand(2, generator=owner.generator), owner.numpy.random()
    model(torch.randn(8, 2))
    owner.nested[0]["mean"] += 1
    owner.nested.append({})
    undo()
    assert owner.nested == [{"mean": owner.nested[0]["mean"]}] and owner.nested[0]["mean"].sum() == 0
    assert model[0].num_batches_tracked == 0 and not model[0].running_mean.any()
    assert torch.equal(torch.rand(2, generator=owner.generator), first[0]) and owner.numpy.random() == first[1]


@pytest.mark.parametrize("terms", [False, True])
def test_a_skipped_step_is_put_back_in_the_loss(terms: bool, garments: Path, tmp_path: Path) -> None:
    @TRAINERS.register
    class Spoils(Trainer):
        def forward(self, input: Any) -> Any:
            output = super().forward(input)
            spoiled = self.model.training and self.progress.step == 5
            return output * (float("nan") if spoiled else 1.0)

    loss: dict[str, Any] = {"terms": {"normed": {"type": "Normed", "weight": 1.0}}} if terms else {"type": "Normed"}
    run = fit(small_config(tmp_path, garments, loss=loss, trainer__type="Spoils", trainer__non_finite="skip"))
    assert run.trainer.guard.skipped == 1 and run.trainer.progress.step == 12
    normed: Any = run.trainer.criterion.terms["normed"][1] if terms else run.trainer.criterion  # type: ignore[attr-defined]
    assert normed.mean.isfinite() and normed.largest.isfinite()
    assert normed.count == run.trainer.progress.step - 1 + VALIDATIONS


VALIDATIONS = 3
"""One batch each: the loss is always in train mode."""


@TRAINERS.register
class Drawing(Trainer):
    """Draws where it evaluates, as a variational model may; asked to end in the middle of the evaluation `at`."""

    at = 0
    evaluations = 0

    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        if len(batch[0]) == 16:
            Drawing.evaluations += 1
            if Drawing.evaluations == Drawing.at:
                os.kill(os.getpid(), signal.SIGTERM)
        loss = super().eval_step(batch)["loss"]
        return {"loss": loss + torch.rand(()) + torch.randn(())}


@pytest.mark.parametrize("inside", [False, True])
def test_an_evaluation_that_was_interrupted_gives_the_same_when_it_is_done_again(
    inside: bool, garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"trainer__type": "Drawing", "loss": "Normed"}
    changes |= {"data__loader__eval_batch_size": 16, "trainer__validate_every": {"steps": 3} if inside else {}}
    config = small_config(tmp_path, garments, **changes)
    monkeypatch.setattr(Drawing, "at", 0)
    whole = fit(config)
    for monkeypatched, value in (("at", 7), ("evaluations", 0)):
        monkeypatch.setattr(Drawing, monkeypatched, value)
    run = fit(config)
    assert run.reason == "signal" and run.trainer.progress.phase == ("evaluate" if inside else "validate")
    monkeypatch.setattr(Drawing, "at", 0)
    resumed = fit(resume=run.path)
    assert (rows(resumed)[1]["phase"] == "step") is inside
    assert_same_run(whole, resumed)
