"""Trainer: the usual one, with an input, a target, one model and one optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from base.loop.base_trainer import BaseTrainer
from base.loop.components import one_number_each
from base.registry import TRAINERS
from utils.batches import SampleKeys, with_parts


@TRAINERS.register
class Trainer(BaseTrainer):
    """Learns from pairs. Each of the small methods may be replaced alone, in a subclass in a file of your own:

    class WithPenalty(Trainer):
        def compute_loss(self, output, target, batch):
            return {"fit": self.criterion(output, target), "penalty": 0.01 * output.abs().mean()}
    """

    def unpack(self, batch: Any) -> tuple[Any, Any]:
        """(input, target) of a batch: the first two of a tuple or list, or by `data.keys`. Where losses and metrics say
        which `target` they look at, and `data.keys` names none, the target is the whole batch."""
        if self._first_two and isinstance(batch, tuple | list) and len(batch) >= 2:
            return batch[0], batch[1]
        return SampleKeys(self.keys.input, self.keys.target).unpack(batch, self.parts.settings.picks_targets)

    @cached_property
    def _first_two(self) -> bool:
        keys = self.keys
        return keys.input is None and keys.target is None and not self.parts.settings.picks_targets

    def forward(self, input: Any) -> Any:
        """The model's output."""
        return self.model(input)

    def compute_loss(self, output: Any, target: Any, batch: Any) -> Tensor | dict[str, Tensor]:
        """A scalar, or named scalars that are summed to the loss and each logged under their name."""
        return self.criterion(output, target)  # type: ignore[no-any-return]

    def update_metrics(self, output: Any, target: Any, batch: Any) -> None:
        """Feeds every metric of the phase under way; `output` is detached."""
        self.metrics.feed(output, target)

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        return self._step(batch)

    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        return self._step(batch)

    def _step(self, batch: Any) -> dict[str, Tensor]:
        input, target = self.unpack(batch)
        with self.precision.autocast():
            output = self.forward(input)
            loss = self.compute_loss(output, target, batch)
        if self.metrics:
            self.update_metrics(detached(output), target, batch)
        if isinstance(loss, Tensor):
            return {"loss": loss}
        terms = one_number_each(loss)
        return {"loss": sum_of(terms), **terms}


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([term.float() for term in terms.values()]).sum()


def detached(output: Any) -> Any:
    """The same tensors without their graph, alone or in whatever holds them: a tuple, dict, dataclass ..."""
    return output.detach() if isinstance(output, Tensor) else with_parts(output, detached)
