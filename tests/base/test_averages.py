"""`trainer.ema`: what is averaged, what is copied, and that an average is looked at before it is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base import CALLBACKS, MODELS, Callback, fit
from base.errors import NotFiniteError
from base.loop.optim import Average, follow
from tests.small_run import assert_same_run, rows, small_config, stopped_and_resumed

INF = float("inf")


@MODELS.register
class WithBuffers(nn.Module):
    """Buffers of every kind, among them the mask of causal attention."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(784), nn.Linear(784, 10)
        self.register_buffer("mask", torch.full((3, 3), -INF).triu(1))
        self.register_buffer("least", torch.tensor(INF))
        self.register_buffer("index", torch.arange(100_000, 100_200))
        self.register_buffer("on", torch.tensor([True, False]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.flatten(1))
        if self.training:
            self.least.copy_(torch.minimum(self.least, x.detach().min()))
        attention = torch.softmax(self.mask, 1)  # (3, 3), each row over what is not masked
        return self.layer(x) * attention.sum(1).mean()  # type: ignore[no-any-return]


EMA: dict[str, Any] = {"model": "WithBuffers", "trainer__ema": {"decay": 0.999}}


def test_parameters_and_statistics_are_averaged_and_everything_else_is_copied() -> None:
    model = WithBuffers()
    average, decay = Average(model, 0.75), 0.75
    expected = {name: value.clone() for name, value in model.state_dict().items() if "norm" in name or "layer" in name}
    for step in range(4):
        with torch.no_grad():
            for tensor in (*model.parameters(), model.norm.running_mean, model.norm.running_var):
                tensor.normal_(generator=torch.Generator().manual_seed(step))
        model.norm.num_batches_tracked += 1
        model.index += 1
        follow({"model": average}, {"model": model}, ["model.mask", "model.least", "other.mask"])
        for name, value in expected.items():
            new = model.state_dict()[name]
            expected[name] = torch.lerp(value, new, 1 - decay) if step and value.is_floating_point() else new.clone()
    kept = average.module.state_dict()
    assert all(torch.equal(kept[name], value) for name, value in expected.items())
    assert not torch.equal(kept["norm.running_mean"], model.norm.running_mean)
    for name in ("norm.num_batches_tracked", "mask", "least", "index", "on"):
        assert torch.equal(kept[name], model.state_dict()[name]), name


def test_a_run_with_masks_and_tables_is_evaluated_on_a_sound_average(garments: Path, tmp_path: Path) -> None:
    whole = fit(small_config(tmp_path / "whole", garments, **EMA))
    average, model = whole.trainer.evaluated["model"], whole.model
    assert torch.equal(average.mask, model.mask) and torch.equal(average.index, model.index)
    assert average.least == model.least and model.least.isfinite()
    assert not torch.equal(average.norm.running_mean, model.norm.running_mean)  # type: ignore[union-attr]
    assert all(row["val_loss"] is not None for row in rows(whole)[1:-1])
    assert_same_run(whole, stopped_and_resumed(small_config(tmp_path / "parts", garments, **EMA), 2, 7))


@CALLBACKS.register
class SpoilsTheAverage(Callback):
    """After the fifth step; the model itself stays sound."""

    def on_step_end(self, trainer: Any, terms: Any) -> None:
        if trainer.progress.step == 5:
            with torch.no_grad():
                trainer.evaluated["model"].layer.weight[0, 0] = float("nan")


def test_an_average_that_is_not_finite_is_not_saved(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **EMA, callbacks=["SpoilsTheAverage"])
    with pytest.raises(NotFiniteError, match=r"averages are not finite after epoch 2, step \d.*: not saved; the last"):
        fit(config)
