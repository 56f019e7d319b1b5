"""What a config says of single parameters and of single outputs: groups, freezing, terms, named parts."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from base import CheckpointError, ConfigError, fit
from base.checkpoint.store import CheckpointStore
from base.loop.optim import ParameterFreezer
from base.registry import DATASETS, MODELS
from tests.small_run import assert_same_run, last_state, rows, small_config, stopped_and_resumed

TINY = {"type": "ConvNet", "args": {"widths": [2, 2], "hidden": 4}}


# --- groups ----------------------------------------------------------------------------------------------------------


def test_groups_are_matched_by_name_or_kind_and_have_their_own_arguments(garments: Path, tmp_path: Path) -> None:
    optimizer = {
        "type": "AdamW",
        "args": {"lr": 0.01, "weight_decay": 0.1},
        "groups": [
            {"match": "bias$|BatchNorm", "name": "plain", "args": {"weight_decay": 0}},
            {"match": "^features", "name": "backbone", "lr_scale": 0.1},
        ],
    }
    config = {"model": TINY, "optimizer": optimizer, "trainer__epochs": 2}
    whole = fit(small_config(tmp_path / "whole", garments, **config))
    plain, backbone, rest = whole.trainer.optimizer.param_groups
    assert [len(group["params"]) for group in (plain, backbone, rest)] == [6, 2, 2]
    assert [group["weight_decay"] for group in (plain, backbone, rest)] == [0, 0.1, 0.1]
    row = rows(whole)[1]
    assert (row["lr/plain"], row["lr/rest"]) == (0.01, 0.01) and row["lr/backbone"] == pytest.approx(0.001)
    assert_same_run(whole, stopped_and_resumed(small_config(tmp_path / "parts", garments, **config), 3))


def test_a_group_that_matches_nothing_and_wrong_arguments_are_faults(garments: Path, tmp_path: Path) -> None:
    optimizer = {"type": "SGD", "args": {"lr": 0.1}, "groups": [{"match": "scale"}]}
    with pytest.raises(ConfigError, match=r"optimizer\.groups\.0\.match: 'scale' matches no name .*layers\.0\."):
        fit(small_config(tmp_path, garments, optimizer=optimizer))
    optimizer["groups"] = [{"match": "bias", "args": {"weigth_decay": 0, "lr": -1}}]
    with pytest.raises(ConfigError) as error:
        fit(small_config(tmp_path, garments, optimizer=optimizer))
    told = [(fault.key, fault.what) for fault in error.value.faults]
    assert ("optimizer.groups.0.args.weigth_decay", "SGD has no such argument") in told


def test_another_scale_holds_from_the_next_step(garments: Path, tmp_path: Path) -> None:
    optimizer = {"type": "SGD", "args": {"lr": 0.1}, "groups": [{"match": "bias", "lr_scale": 0.5}]}
    run = fit(small_config(tmp_path, garments, optimizer=optimizer, trainer__epochs=1))
    change = {"optimizer.groups.0.lr_scale": 0.1, "trainer.epochs": 2}
    resumed = fit(resume=run.path, overrides=change, force=True)
    assert [(row["lr/0"], row["lr/rest"]) for row in rows(resumed)[1:-1]] == [(0.05, 0.1), (pytest.approx(0.01), 0.1)]


# --- freezing --------------------------------------------------------------------------------------------------------


def test_what_is_frozen_keeps_weights_and_statistics_and_unfreezes_bit_exactly(garments: Path, tmp_path: Path) -> None:
    model = {**TINY, "freeze": ["^features"], "unfreeze_at": {"epoch": 3}}
    config = {"model": model, "optimizer__args": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}, "trainer__keep": 9}
    whole = fit(small_config(tmp_path / "whole", garments, **config))
    store = CheckpointStore(whole.path / "checkpoints")
    first, second, last = (store.load(store.names()[i]).weights() for i in (0, 2, 3))
    frozen = [name for name in first if name.startswith("features")]
    assert len(frozen) == 12
    assert all(torch.equal(first[name], second[name]) for name in frozen)  # with momentum, decay and BatchNorm
    assert not torch.equal(first["classifier.0.weight"], second["classifier.0.weight"])
    assert not any(torch.equal(second[name], last[name]) for name in frozen)
    for stops in ((6,), (8, 10)):  # before, and between the end of the frozen epochs and the middle of the next
        parts = stopped_and_resumed(small_config(tmp_path / f"{stops}", garments, **config), *stops)
        assert_same_run(whole, parts)


def test_frozen_modules_are_in_eval_mode_and_what_the_user_froze_stays_so() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2), nn.Dropout()), nn.Dropout(), nn.Linear(2, 1)
    )
    model[3].bias.requires_grad_(False)
    freezing = ParameterFreezer(model, ["BatchNorm", "^0"], until=2)
    freezing.apply(1)
    assert [module.training for module in model] == [False, False, True, True]
    assert not model[1][1].training  # within what is frozen
    assert [p.requires_grad for p in model.parameters()] == [False, False, False, False, True, False]
    model.train()
    freezing.apply(2)
    assert all(module.training for module in model)
    assert [p.requires_grad for p in model.parameters()] == [True, True, True, True, True, False]


def test_what_a_constructor_froze_stays_in_eval_mode() -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout()),
        nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Dropout()),
        nn.BatchNorm1d(2),
        nn.Linear(2, 1),
    )
    for part in (model[0], model[2]):
        part.requires_grad_(False)
    freezing = ParameterFreezer(model)
    freezing.apply(1)
    assert [module.training for module in model] == [False, True, False, True]
    assert not any(module.training for module in model[0].modules())
    assert all(module.training for module in model[1].modules())  # it follows the module above it
    assert freezing.found_frozen() == ["0", "2"]
    assert ParameterFreezer(model, whole=True).found_frozen() == []


def test_what_is_frozen_for_a_moment_or_made_to_learn_again_is_the_trainers_business() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2))
    model[0].requires_grad_(False)
    freezing = ParameterFreezer(model)
    model.train().requires_grad_(False)
    freezing.apply(1)
    assert [module.training for module in model] == [False, True]
    model.train().requires_grad_(True)
    freezing.apply(2)
    assert [module.training for module in model] == [True, True]


def test_a_module_frozen_by_a_pattern_and_by_its_constructor_learns_with_its_pattern() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Linear(2, 1))
    model[0][1].requires_grad_(False)
    freezing = ParameterFreezer(model, ["^0.0"], until=2)
    freezing.apply(1)
    assert [module.training for module in (model[0], model[0][0], model[0][1])] == [False, False, False]
    model.train()
    freezing.apply(2)
    assert [module.training for module in (model[0], model[0][0], model[0][1])] == [True, True, False]


@MODELS.register
class FrozenBody(nn.Module):
    """Freezes its body in its constructor, as many projects do."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 10)
        self.body.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


def test_the_statistics_of_a_body_frozen_in_the_constructor_stay(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = fit(small_config(tmp_path, garments, model={"type": "FrozenBody"}, trainer__epochs=1))
    assert torch.equal(run.model.body[2].running_mean, torch.zeros(8))
    assert "  frozen   body, by its own code: stays in eval mode (BatchNorm, Dropout)" in caplog.messages


def test_a_pattern_to_freeze_that_matches_nothing_is_a_fault(garments: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.freeze\.0: 'backbone' matches no name of a remaining parameter"):
        fit(small_config(tmp_path, garments, model={**TINY, "freeze": ["backbone"]}))
    with pytest.raises(ConfigError, match=r"model\.freeze: the whole model is frozen; leave some parameters to train"):
        fit(small_config(tmp_path, garments, model={**TINY, "freeze": ["weight", "bias"]}))


def test_a_model_begins_with_a_runs_weights_and_a_resume_does_not_look_there(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = fit(small_config(tmp_path / "first", garments, trainer__epochs=1))
    model = {"type": "MLP", "args": {"hidden": [16]}, "init_from": str(first.path)}
    run = fit(small_config(tmp_path, garments, model=model), {"callbacks": [{"type": "StopAt", "args": {"step": 2}}]})
    assert "4 of the model's 4 tensors taken" in caplog.text
    (first.path / "checkpoints").rename(first.path / "gone")
    assert fit(resume=run.path, overrides={"callbacks": []}).reason == "finished"
    with pytest.raises(CheckpointError, match=r"config\.yaml:\d+:\d+: model\.init_from: .*: "):
        fit(small_config(tmp_path, garments, model=model))


# --- terms and named parts -------------------------------------------------------------------------------------------


@DATASETS.register
class Boxes(Dataset[dict[str, Any]]):
    """Dicts with an image and two targets."""

    def __init__(self, train: bool = True) -> None:
        self.images = torch.rand(96, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        self.images[::2] *= 0.3

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images[index]
        return {"image": image, "bright": int(index % 2), "mean": image.mean().reshape(1)}


@MODELS.register
class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU())
        self.logits, self.mean = nn.Linear(8, 2), nn.Linear(8, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        hidden = self.body(x)
        return {"logits": self.logits(hidden), "mean": self.mean(hidden)}


TWO_HEADS: dict[str, Any] = {
    "data__train": "Boxes",
    "data__valid": 32,
    "data__transform": {},
    "data__loader": {"batch_size": 16},
    "data__keys": {"input": "image"},
    "model": "TwoHeads",
    "loss": {
        "terms": {
            "kind": {"type": "CrossEntropyLoss", "output": "logits", "target": "bright"},
            "size": {"type": "MSELoss", "output": "mean", "target": "mean", "weight": 0.5},
        }
    },
    "metrics": [{"type": "accuracy", "output": "logits", "target": "bright"}],
    "trainer__monitor": "min val_size",
}


def test_weighted_terms_over_named_outputs_and_batch_keys(garments: Path, tmp_path: Path) -> None:
    whole = fit(small_config(tmp_path / "whole", garments, **TWO_HEADS))
    for row in rows(whole)[1:-1]:
        assert row["loss"] == pytest.approx(row["kind"] + row["size"]) and row["val_accuracy"] <= 1
        assert row["val_loss"] == pytest.approx(row["val_kind"] + row["val_size"])
    assert_same_run(whole, stopped_and_resumed(small_config(tmp_path / "parts", garments, **TWO_HEADS), 5))
    once = small_config(tmp_path / "once", garments, **TWO_HEADS)
    full, half = (
        rows(fit(once, {"loss.terms.size.weight": weight, "optimizer.args.lr": 1e-30, "trainer.epochs": 1}))[1]
        for weight in (1.0, 0.5)
    )
    assert half["size"] == pytest.approx(full["size"] / 2) and half["kind"] == full["kind"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss.terms.size.output": "box"}, ".terms.size.output: the output has no part 'box'; there is log"),
        ({"metrics.0.target": "dark"}, "0.target: the target has no part 'dark'; there is image, bright and mean"),
        ({"model": {"type": "MLP", "args": {"hidden": [4]}}}, "the output has no part 'logits'; there is a single T"),
        ({"data.keys.input": "picture"}, "a batch is a dict with the keys image, bright, mean: say which is input"),
    ],
)  # fmt: skip
def test_a_part_that_is_not_there_is_a_fault(
    change: dict[str, Any], message: str, garments: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        fit(small_config(tmp_path, garments, **TWO_HEADS), change)


def test_a_frozen_model_beside_the_one_that_learns_is_no_second_one(garments: Path, tmp_path: Path) -> None:
    """The usual trainer takes the one that learns; the other is neither averaged nor changed."""
    models = {"student": {"type": "MLP", "args": {"hidden": [8]}}, "teacher": {**TINY, "frozen": True}}
    config = {"model": models, "trainer__ema": {"decay": 0.9}, "trainer__epochs": 1}
    run = fit(small_config(tmp_path, garments, **config))
    assert run.model is run.trainer.models["student"] and set(run.trainer.parts.averages) == {"student"}
    store = CheckpointStore(run.path / "checkpoints")
    first, last = (store.load(store.names()[i]).weights() for i in (0, -1))
    frozen = [name for name in first if name.startswith("teacher.")]
    assert len(frozen) == 16 and all(torch.equal(first[name], last[name]) for name in frozen)
    assert last_state(run)["optimizers"]["optimizer"]["param_groups"][0]["params"] == [0, 1, 2, 3]
