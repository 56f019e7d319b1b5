"""Exponential moving averages of models (`trainer.ema`), which are evaluated and kept in the models' place."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average(AveragedModel):
    """The average of a model's parameters and floating-point buffers, such as BatchNorm's statistics. Everything else
    is copied: integer tables, counters, masks."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=_moving(decay), use_buffers=True)

    @torch.no_grad()
    def follow(self, model: nn.Module, copied: Collection[str]) -> None:
        """After a step of the model. `copied` names buffers that are not averaged: an average with -inf is NaN."""
        self.update_parameters(model)
        for name in copied:
            self.module.get_buffer(name).copy_(model.get_buffer(name))


def follow(averages: Mapping[str, Average], models: Mapping[str, nn.Module], not_finite: Collection[str]) -> None:
    """Brings the averages up to date. `not_finite` names buffers, `model.name`, that held infinities or NaN when the
    run began; each is copied as a whole, finite elements too."""
    for name, average in averages.items():
        prefix = f"{name}."
        average.follow(models[name], [one.removeprefix(prefix) for one in not_finite if one.startswith(prefix)])


def _moving(decay: float) -> Any:
    """torch's average for floating-point and complex numbers; whole numbers and truth values are copied."""
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            average(averages, current, count)
        else:
            torch._foreach_copy_(averages, current)

    return update
