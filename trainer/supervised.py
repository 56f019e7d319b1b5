"""Trainer: supervised training of one model with one optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from base.loop.base_trainer import BaseTrainer
from base.loop.components import summed
from base.loop.counts import Rule, rule_of
from base.registry import TRAINERS
from utils.batches import SampleKeys, size_of, with_parts


@TRAINERS.register
class Trainer(BaseTrainer):
    """Learns from (input, target) pairs. A subclass in your own file may override any of the small methods:

    class WithPenalty(Trainer):
        def compute_loss(self, output, target, batch):
            return {"fit": self.criterion(output, target), "penalty": 0.01 * output.abs().mean()}
    """

    _compared = False
    """Whether the loss of the first batch was compared with the losses of its parts."""

    def unpack(self, batch: Any) -> tuple[Any, Any]:
        """(input, target) of a batch: the two elements of a tuple or list, or the entries named by `data.keys`.
        If losses and metrics select their `target` and `data.keys` names none, the target is the whole batch."""
        if self._first_two and isinstance(batch, tuple | list) and len(batch) == 2:
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
        """A scalar, or named scalars that are summed to the loss and logged under their names. `count` says what they
        are means over."""
        return self.criterion(output, target)  # type: ignore[no-any-return]

    def count(self, batch: Any) -> Any:
        """The count that the config's loss divides by in this batch, by default the number of samples. A subclass that
        overrides `unpack`, `compute_loss` or a step counts samples, unless it overrides this method as well: return a
        number, or `{name: number}` for the losses that `compute_loss` names."""
        size = size_of(batch)
        return size if self._rule is None else self._rule(self.unpack(batch)[1], size)

    @cached_property
    def _rule(self) -> Rule | None:
        kind = type(self)
        steps = ("unpack", "compute_loss", "train_step", "eval_step")
        own = any(getattr(kind, name) is not getattr(Trainer, name) for name in steps)
        return None if (own and kind.count is Trainer.count) or len(self.criteria) > 1 else rule_of(self.criterion)

    def update_metrics(self, output: Any, target: Any, batch: Any) -> None:
        """Updates every metric of the current phase; `output` is detached."""
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
        if not self._compared and torch.is_grad_enabled():
            self._compared = True
            if not self.progress.step:
                from base.checks.batch_means import compare_with_parts

                compare_with_parts(self, output, target, batch)
        if self.metrics:
            self.update_metrics(detached(output), target, batch)
        return summed(loss) if isinstance(loss, Mapping) else {"loss": loss}


def detached(output: Any) -> Any:
    """The same tensors without their graph: a tensor, or tensors in tuples, dicts, dataclasses and so on."""
    return output.detach() if isinstance(output, Tensor) else with_parts(output, detached)
