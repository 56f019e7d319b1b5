"""Optimizers that a step would fail on are refused at the start; fused kernels are taken where parameters have them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base import MODELS, OPTIMIZERS, TRAINERS, BaseTrainer, ConfigError, evaluate, fit
from base.config import Config
from base.introspect.catalogue import describe_registry
from base.run import check
from tests.small_run import small_config
from trainer import Trainer


@OPTIMIZERS.register
class AsksForTheLoss(torch.optim.SGD):
    """An optimizer of a user's own with a closure."""

    def step(self, closure: Any) -> Any:  # type: ignore[override]
        return super().step(closure)


@OPTIMIZERS.register
def made_by_a_function(params: Any, lr: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.LBFGS([p for group in params for p in group["params"]], lr=lr)


@MODELS.register
class Rows(nn.Module):
    """Looks up one of four rows by the mean of an image; with `dense`, adds a linear layer."""

    def __init__(self, dense: bool = False) -> None:
        super().__init__()
        self.rows = nn.Embedding(4, 10, sparse=True)
        self.layer = nn.Linear(784, 10) if dense else None

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.rows((x.flatten(1).mean(1) * 16).long().clamp(0, 3))
        return found if self.layer is None else found + self.layer(x.flatten(1))


@MODELS.register
class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(784, 10, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1).to(torch.complex64) @ self.weight).real


def adam(**args: Any) -> dict[str, Any]:
    return {"type": "Adam", "args": {"lr": 0.01, **args}}


MEND = "use another optimizer, such as AdamW or SGD, or a trainer with an optimizer_step of its own"
CLOSURE = (
    "optimizer.type: {} needs a closure, which computes the loss several times in a step; found step(closure); "
    f"expected an optimizer with step(); {MEND}"
)
SPARSE, SPARSE_SGD = {"model": "Rows"}, {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": "LBFGS"}, CLOSURE.format("LBFGS")),
    ({"optimizer": "AsksForTheLoss"}, CLOSURE.format("AsksForTheLoss")),
    ({"optimizer": "made_by_a_function"}, CLOSURE.format("LBFGS")),
    (
        {**SPARSE, "optimizer": adam()},
        "optimizer.type: Adam takes no sparse gradients; found rows.weight with sparse=True; "
        "use Adagrad, SGD or SparseAdam, or an embedding without sparse=True",
    ),
    (
        {**SPARSE, "optimizer": SPARSE_SGD},
        "optimizer.type: SGD with momentum takes no sparse gradients; found rows.weight with sparse=True; "
        "set momentum to 0, or make the embedding without sparse=True",
    ),
    (
        {"model": {"type": "Rows", "args": {"dense": True}}, "optimizer": "SparseAdam"},
        "optimizer.type: SparseAdam takes only sparse gradients; found layer.weight and layer.bias; "
        "use SGD or Adagrad, or choose with optimizer.params what SparseAdam learns",
    ),
    (
        {"model": "Complex", "optimizer": {**adam(), "fused": True}},
        "optimizer.fused: there is no fused kernel: weight is complex64; write fused: false",
    ),
    (
        {"model": "Complex", "trainer__precision": "fp16"},
        "trainer.precision: fp16 cannot scale complex gradients; found weight, complex; expected bf16 or fp32",
    ),
    (
        {**SPARSE, "optimizer": "SparseAdam", "trainer__clip": {"value": 0.1}},
        "trainer.clip.value: not possible for every parameter; "
        "found rows.weight, complex or with sparse gradients; expected trainer.clip.norm",
    ),
]


@pytest.mark.parametrize("look", [fit, check])
@pytest.mark.parametrize(("changes", "text"), REFUSED)
def test_it_is_refused_at_its_place(
    look: Any, changes: dict[str, Any], text: str, garments: Path, tmp_path: Path
) -> None:
    config = small_config(tmp_path, garments, **changes)
    with pytest.raises(ConfigError, match=rf"^{re.escape(config.as_posix())}:\d+:\d+: {re.escape(text)}\n1 fault"):
        look(config)
    assert not (tmp_path / "saved").exists()


@TRAINERS.register
class OwnStep(Trainer):
    """Gives LBFGS the closure that it asks for."""

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        self.batch = batch
        return super().train_step(batch)

    def optimizer_step(self) -> None:
        def closure() -> Tensor:
            self.optimizer.zero_grad()
            loss: Tensor = self.criterion(self.model(self.batch[0]), self.batch[1])
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        self.optimizer.step(closure)  # type: ignore[arg-type]


@TRAINERS.register
class OwnEpoch(BaseTrainer):
    def __init__(self, model: Any, criterion: Any, metric_ftns: Any, optimizer: Any, config: Any, data_loader: Any):
        super().__init__(model, criterion, metric_ftns, optimizer, config)  # type: ignore[call-arg]
        self.loader, self.learner = data_loader, optimizer

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        for batch in self.loader:
            loss = self.learner.step(lambda batch=batch: self.closure(batch))
        return {"loss": loss.item()}

    def closure(self, batch: Any) -> Tensor:
        self.learner.zero_grad()
        loss: Tensor = self.criterion(self.model(batch[0]), batch[1])
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


@pytest.mark.parametrize("kind", ["OwnStep", "OwnEpoch"])
def test_a_trainer_that_calls_the_step_itself_may_give_a_closure(kind: str, garments: Path, tmp_path: Path) -> None:
    lbfgs = {"type": "LBFGS", "args": {"lr": 0.01, "max_iter": 2}}
    changes = {"optimizer": lbfgs, "trainer__type": kind, "trainer__epochs": 1, "trainer__monitor": "off"}
    assert fit(small_config(tmp_path, garments, **changes)).reason == "finished"


def test_what_needs_a_closure_is_not_offered() -> None:
    assert "LBFGS" not in describe_registry("optimizers") and "SparseAdam" in describe_registry("optimizers")
    assert "it needs a closure, so it works only with a trainer that calls its step" in describe_registry("LBFGS")


@pytest.mark.parametrize(
    ("changes", "fused"),
    [
        ({"model": "Complex", "optimizer": adam()}, False),
        ({"optimizer": adam(foreach=True)}, False),
        ({"optimizer": adam()}, True),
    ],
)
def test_a_fused_kernel_is_taken_where_every_parameter_allows_it(
    changes: dict[str, Any], fused: bool, garments: Path, tmp_path: Path
) -> None:
    config = small_config(tmp_path, garments, **changes, trainer__epochs=1, trainer__ema={"decay": 0.9})
    run = fit(config)
    assert Config.read(run.path / "config.yaml", of_run=True)["optimizer"]["fused"] is fused
    assert bool(run.trainer.optimizer.defaults["fused"]) is fused
    assert fit(resume=run.path, overrides={"trainer.epochs": 2}).reason == "finished"


@pytest.mark.parametrize(("optimizer", "dense"), [("SparseAdam", False), ("SGD", True)])
def test_sparse_gradients_are_learned_from(optimizer: str, dense: bool, garments: Path, tmp_path: Path) -> None:
    model = {"type": "Rows", "args": {"dense": dense}}
    changes = {"model": model, "optimizer": {"type": optimizer, "args": {"lr": 0.1}}, "trainer__epochs": 1}
    config = small_config(tmp_path, garments, **changes, trainer__clip={"norm": 1.0})
    assert check(config) == []
    before = fit(config, {"optimizer.args.lr": 1e-12}).model.get_parameter("rows.weight")
    assert (fit(config).model.get_parameter("rows.weight") - before).abs().max() > 0.01


@pytest.mark.parametrize("count", ["1", "", "2"])
def test_several_processes_are_refused(
    count: str, garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(tmp_path, garments, trainer__epochs=1)
    run = fit(config)
    monkeypatch.setenv("WORLD_SIZE", count)
    if count != "2":
        assert check(config) == []
        return
    text = (
        "the environment: WORLD_SIZE: several processes would each do the whole run; found 2; expected 1; "
        "start one, without torchrun: python train.py -c CONFIG\n1 fault in the environment: nothing was started"
    )
    for start in (lambda: fit(config), lambda: check(config), lambda: fit(resume=run.path), lambda: evaluate(run.path)):
        with pytest.raises(ConfigError, match=f"^{re.escape(text)}$"):
            start()
    assert [run.path] == list(run.path.parent.iterdir())
