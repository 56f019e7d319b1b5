"""A training batch of one sample under BatchNorm is foreseen; where nothing fails, nothing is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base import MODELS, ConfigError, fit
from tests.small_run import small_config


@MODELS.register
class Normed(nn.Module):
    """A normalization at a place of each kind."""

    def __init__(self, at: str = "features", own_mode: bool = False) -> None:
        super().__init__()
        self.at, self.own_mode = at, own_mode
        kinds = {
            "features": nn.BatchNorm1d(4),
            "pixels": nn.BatchNorm2d(1),
            "pooled": nn.BatchNorm2d(1),
            "rows": nn.BatchNorm1d(28),
            "instance": nn.InstanceNorm2d(1),
            "group": nn.GroupNorm(2, 4),
        }
        self.norm = kinds[at]
        self.first, self.head = nn.Linear(784, 4), nn.Linear(4, 10)

    def train(self, mode: bool = True) -> Normed:
        super().train(mode)
        if self.own_mode:
            self.norm.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        if self.at in ("pixels", "instance"):
            x = self.norm(x)
        if self.at == "pooled":
            x = x * self.norm(x.mean((2, 3), keepdim=True))
        if self.at == "rows":
            x = self.norm(x.reshape(-1, 28)).reshape(x.shape)
        x = self.first(x.flatten(1))
        return self.head(self.norm(x) if self.at in ("features", "group") else x)  # type: ignore[no-any-return]


def config(tmp_path: Path, garments: Path, at: str = "features", **changes: Any) -> Path:
    """65 training samples in batches of 64, unless `changes` say otherwise."""
    usual: dict[str, Any] = {"data__valid": 255, "model": {"type": "Normed", "args": {"at": at}}, "trainer__epochs": 1}
    return small_config(tmp_path, garments, **(usual | changes))


TEXT = (
    r"data\.loader\.{}: BatchNorm \(norm\) cannot train on a batch of one sample; found {}; "
    r"expected 2 samples or more in each; set {}, or use GroupNorm or LayerNorm in the model"
)
LEFT_OVER = "65 samples in batches of 64, so the last batch has one"
MENDS = r"data\.loader\.drop_last: true, or another data\.loader\.batch_size"
BATCHES_OF_ONE = TEXT.format("batch_size", "1", r"data\.loader\.batch_size: 2 or more with drop_last: true")


@pytest.mark.parametrize(
    ("at", "changes", "text"),
    [
        ("features", {}, TEXT.format("batch_size", LEFT_OVER, MENDS)),
        ("pooled", {}, TEXT.format("batch_size", LEFT_OVER, MENDS)),
        ("features", {"data__loader__drop_last": False}, TEXT.format("drop_last", LEFT_OVER, MENDS)),
        ("features", {"trainer__accumulate": 2}, TEXT.format("batch_size", LEFT_OVER, MENDS)),
        ("features", {"data__loader__batch_size": 1, "data__loader__drop_last": True}, BATCHES_OF_ONE),
    ],
)
def test_it_is_refused_before_the_run(
    at: str, changes: dict[str, Any], text: str, tmp_path: Path, garments: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"config\.yaml:\d+:\d+: {text}\n") as error:
        fit(config(tmp_path, garments, at, **changes))
    assert len(error.value.faults) == 1
    assert not (tmp_path / "saved").exists()


FROZEN = {"type": "Normed", "freeze": ["norm"]}
SILENT: dict[str, dict[str, Any]] = {
    "a value a pixel": {"at": "pixels"},
    "several rows a sample": {"at": "rows"},
    "InstanceNorm": {"at": "instance"},
    "GroupNorm": {"at": "group"},
    "drop_last": {"data__loader__drop_last": True},
    "two samples left": {"data__valid": 254},
    "a whole last batch": {"data__valid": 256},
    "frozen": {"model": FROZEN},
    "frozen till after the end": {"model": FROZEN | {"unfreeze_at": {"epoch": 5}}},
    "kept in eval mode by the model": {"model": {"type": "Normed", "args": {"own_mode": True}}},
    "over before the last batch": {"trainer__steps_per_epoch": 1},
    "the same first batch over and over": {"trainer__overfit_batches": 1},
}


@pytest.mark.parametrize("changes", SILENT.values(), ids=SILENT)
def test_what_does_not_fail_trains(changes: dict[str, Any], tmp_path: Path, garments: Path) -> None:
    assert fit(config(tmp_path, garments, **changes)).reason == "finished"


def test_frozen_only_for_a_while_is_refused(tmp_path: Path, garments: Path) -> None:
    model = FROZEN | {"unfreeze_at": {"epoch": 2}}
    with pytest.raises(ConfigError, match="BatchNorm"):
        fit(config(tmp_path, garments, model=model, trainer__epochs=2))


def test_one_sample_in_evaluation_is_harmless(tmp_path: Path, garments: Path) -> None:
    run = fit(config(tmp_path, garments, data__valid=65))
    batches = [len(batch[0]) for batch in run.trainer.data.valid[""].batches()]
    assert batches == [64, 1]
    assert torch.isfinite(torch.tensor(run.trainer.evaluate(run.trainer.data.valid[""], "")["loss"]))
