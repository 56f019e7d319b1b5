"""Several models, losses and optimizers by name: built, trained, kept and resumed as one is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base import BaseTrainer, ConfigError, fit
from base.checkpoint.store import CheckpointStore
from base.config import Config
from base.errors import UserError
from base.registry import TRAINERS
from base.run import Run
from tests.small_run import assert_same_run, last_state, rows, small_config, stopped_and_resumed
from trainer import Trainer

SMALL = {"type": "MLP", "args": {"hidden": [4]}}


@TRAINERS.register
class SideBySide(BaseTrainer):
    """Two models learn the same, each by its own optimizer."""

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        losses = {name: loss(self.models[name](batch[0]), batch[1]) for name, loss in self.criteria.items()}
        return {"loss": losses["left"] + losses["right"], **losses}

    eval_step = train_step


def two(folder: Path, data: Path, **changes: Any) -> Path:
    several: dict[str, Any] = {
        "model": {"left": SMALL, "right": SMALL},
        "loss": {"left": "CrossEntropyLoss", "right": {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}}},
        "metrics": [],
        "optimizer": {
            "left": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
            "right": {"type": "Adam", "args": {"lr": 0.01}},
        },
        "lr_scheduler": {"left": {"type": "ExponentialLR", "args": {"gamma": 0.5}}},
        "trainer__type": "SideBySide",
    }
    return small_config(folder, data, **{**several, **changes})


def test_two_models_and_optimizers_resume_bit_exactly(garments: Path, tmp_path: Path) -> None:
    more = {"trainer__ema": {"decay": 0.9}, "trainer__clip": {"norm": 1.0}, "trainer__non_finite": "skip"}
    whole = fit(two(tmp_path / "whole", garments, **more))
    parts = stopped_and_resumed(two(tmp_path / "parts", garments, **more), 3, 6)
    assert_same_run(whole, parts)
    weights = last_state(whole)["weights"]
    assert {name.partition(".")[0] for name in weights} == {"left", "right"}
    assert not torch.equal(weights["left.layers.0.weight"], weights["right.layers.0.weight"])
    assert whole.config["optimizer"]["left"]["fused"] is None  # asked; decided it stands in the run's own config
    decided = Config.read(whole.path / "config.yaml", of_run=True)["optimizer"]
    assert (decided["left"]["fused"], decided["right"]["fused"]) == (False, True)


def test_each_optimizer_has_its_model_and_its_schedule(garments: Path, tmp_path: Path) -> None:
    run = fit(two(tmp_path, garments, trainer__epochs=2))
    left, right = (run.trainer.optimizers[name].param_groups for name in ("left", "right"))
    assert [p.shape for p in left[0]["params"]] == [p.shape for p in run.trainer.models["left"].parameters()]
    assert left[0]["params"][0] is next(run.trainer.models["left"].parameters())
    assert right[0]["params"][0] is next(run.trainer.models["right"].parameters())
    row = rows(run)[1]
    assert (row["lr/left"], row["lr/right"]) == (0.1, 0.01) and rows(run)[2]["lr/left"] == 0.05
    assert row["loss"] == pytest.approx(row["left"] + row["right"])


def test_a_model_has_the_same_first_weights_whatever_stands_beside_it(garments: Path, tmp_path: Path) -> None:
    alone = fit(
        two(tmp_path, garments, trainer__epochs=1, model={"other": SMALL, "right": SMALL, "left": SMALL}),
        {"optimizer.left.params": "^(left|other)", "trainer.type": "FirstWeights"},
    )
    both = fit(two(tmp_path, garments, trainer__epochs=1), {"trainer.type": "FirstWeights"})
    assert torch.equal(both.trainer.first["left"], alone.trainer.first["left"])  # type: ignore[attr-defined]


@TRAINERS.register
class FirstWeights(SideBySide):
    def fit(self) -> str:
        self.first = {name: next(model.parameters()).clone() for name, model in self.models.items()}
        return "finished"


def test_another_rate_of_one_optimizer_leaves_the_other_alone(garments: Path, tmp_path: Path) -> None:
    run = fit(two(tmp_path, garments), {"callbacks": [{"type": "StopAt", "args": {"step": 5}}]})
    resumed = fit(resume=run.path, overrides={"callbacks": [], "optimizer.right.args.lr": 0.5}, force=True)
    assert [row["lr/right"] for row in rows(resumed)[1:-1]] == [0.01, 0.5, 0.5]
    assert [row["lr/left"] for row in rows(resumed)[1:-1]] == [0.1, 0.05, 0.025]


def test_params_choose_by_a_model_or_by_a_pattern(garments: Path, tmp_path: Path) -> None:
    optimizer = {
        "weights": {"type": "SGD", "params": "weight$", "args": {"lr": 0.1}},
        "rest": {"type": "SGD", "params": "bias$", "args": {"lr": 0.01}},
    }
    run = fit(small_config(tmp_path, garments, optimizer=optimizer, trainer__epochs=1))
    counts = [len(run.trainer.optimizers[name].param_groups[0]["params"]) for name in optimizer]
    assert counts == [2, 2] and set(rows(run)[1]) >= {"lr/weights", "lr/rest"}
    with pytest.raises(ConfigError) as error:
        fit(small_config(tmp_path, garments, optimizer=optimizer), {"optimizer.rest.params": "scale"})
    assert str(error.value).startswith(
        "fit(): optimizer.rest.params: 'scale' matches no name of a remaining parameter; there are "
        "layers.0.weight, layers.0.bias, layers.2.weight and layers.2.bias"
    )


def test_the_usual_trainer_says_that_it_works_with_one_model(garments: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.type: Trainer works with one model, and there are left and right"):
        fit(two(tmp_path, garments, trainer__type="Trainer", trainer__monitor="off"))


def test_weights_are_taken_from_a_run_with_the_same_models(garments: Path, tmp_path: Path) -> None:
    run = fit(two(tmp_path, garments, trainer__epochs=1))
    again = fit(two(tmp_path, garments), {"init_from": str(run.path), "trainer.type": "FirstWeights"})
    kept = CheckpointStore(run.path / "checkpoints").load("best").weights()["right.layers.0.weight"]
    assert torch.equal(again.trainer.first["right"], kept)  # type: ignore[attr-defined]


def test_one_and_several_replace_each_other_in_layers(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "name: a\ndata: {train: SyntheticFashion}\nmodel: {type: MLP, args: {hidden: [8]}}\nloss: CrossEntropyLoss\n"
        "optimizer: {type: SGD, args: {lr: 0.1}}\ntrainer: {epochs: 1}\n"
    )
    (tmp_path / "two.yaml").write_text("extends: base.yaml\nmodel: {a: MLP, b: LeNet}\n")
    config = Config.read(tmp_path / "two.yaml")
    assert {name: model.type for name, model in config.settings.models.items()} == {"a": "MLP", "b": "LeNet"}
    assert config.written("model").overridden[0].values["type"] == "MLP"  # type: ignore[union-attr]
    (tmp_path / "one.yaml").write_text("extends: two.yaml\nmodel: LeNet\n")
    assert Config.read(tmp_path / "one.yaml")["model"]["type"] == "LeNet"


# --- fp16 ------------------------------------------------------------------------------------------------------------

PIECES = {
    "optimizer": {
        "first": {"type": "SGD", "args": {"lr": 0.1}, "params": r"^layers\.0"},
        "second": {"type": "SGD", "args": {"lr": 0.1}, "params": r"^layers\.2"},
    },
    "trainer__epochs": 1,
}


@TRAINERS.register
class SeesGradients(Trainer):
    """Steps as the usual trainer does, and keeps the norms of the gradients that `optimizer_step` finds."""

    def optimizer_step(self) -> None:
        self.seen = [*getattr(self, "seen", []), *(float(p.grad.norm()) for p in self.model.parameters())]
        super().optimizer_step()


@TRAINERS.register
class ByTurns(SideBySide):
    """The left model learns by `learn`, once for each batch, and once in vain: its loss overflows."""

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        losses = {name: loss(self.models[name](batch[0]), batch[1]) for name, loss in self.criteria.items()}
        self.learn(losses["left"], "left")
        if self.precision.mode == "fp16":
            self.learn(self.criteria["left"](self.models["left"](batch[0]), batch[1]) * 1e36, "left")
        return {"loss": losses["right"], "left": losses["left"]}

    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": self.criteria["right"](self.models["right"](batch[0]), batch[1])}


def assert_near(one: Run, other: Run) -> None:
    for name, model in one.trainer.models.items():
        for parameter, (key, value) in zip(
            other.trainer.models[name].parameters(), model.named_parameters(), strict=True
        ):
            torch.testing.assert_close(value, parameter, rtol=0, atol=2e-3, msg=lambda text, key=key: f"{key}: {text}")


@pytest.mark.parametrize("clip", [{}, {"norm": 1e9}])
def test_under_fp16_each_optimizer_of_a_model_learns(clip: dict[str, Any], garments: Path, tmp_path: Path) -> None:
    runs = [
        fit(small_config(tmp_path / mode, garments, **PIECES, trainer__clip=clip, trainer__precision=mode))
        for mode in ("fp32", "fp16")
    ]
    assert_near(*runs)


def test_under_fp16_an_optimizer_step_of_ones_own_finds_true_gradients(garments: Path, tmp_path: Path) -> None:
    """In the steps that are not logged, too."""
    changes = {**PIECES, "trainer__type": "SeesGradients", "trainer__log_every": 100}
    whole, half = (
        fit(small_config(tmp_path / mode, garments, **changes, trainer__precision=mode)) for mode in ("fp32", "fp16")
    )
    assert half.trainer.seen == pytest.approx(whole.trainer.seen, rel=0.05)  # type: ignore[attr-defined]


def test_under_fp16_an_overflow_in_one_optimizer_does_not_disturb_the_other(garments: Path, tmp_path: Path) -> None:
    sgd = {name: {"type": "SGD", "args": {"lr": 0.1}} for name in ("left", "right")}
    changes = {"optimizer": sgd, "lr_scheduler": None, "trainer__type": "ByTurns", "trainer__epochs": 1}
    changes |= {"trainer__non_finite": "ignore"}
    runs = [fit(two(tmp_path / mode, garments, **changes, trainer__precision=mode)) for mode in ("fp32", "fp16")]
    assert_near(*runs)
    assert runs[1].trainer.precision.state_dict()["scale"] == 2.0**16 / 16  # halved once in each of four steps


def test_a_step_of_one_optimizer_at_every_batch_is_refused_with_accumulation(garments: Path, tmp_path: Path) -> None:
    changes = {"trainer__type": "ByTurns", "trainer__accumulate": 2}
    with pytest.raises(UserError, match=r"steps the optimizer 'left' at every batch; found trainer.accumulate: 2; exp"):
        fit(two(tmp_path, garments, **changes))
