"""The usual trainer: an input, a target, one model, one optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from base.base_trainer import BaseTrainer
from base.registry import TRAINERS


@TRAINERS.register
class Trainer(BaseTrainer):
    """Learns from pairs. Each of the small methods may be replaced alone, in a subclass in a file of your own:

    class WithPenalty(Trainer):
        def compute_loss(self, output, target, batch):
            return {"fit": self.criterion(output, target), "penalty": 0.01 * output.abs().mean()}
    """

    def unpack(self, batch: Any) -> tuple[Any, Any]:
        """(input, target) of a batch: the first two of a tuple or list, or by `data.keys` of a dict."""
        if isinstance(batch, tuple | list) and len(batch) >= 2:
            return batch[0], batch[1]
        if isinstance(batch, Mapping):
            keys = self.keys
            missing = [k for k in (keys.input, keys.target) if k is None or k not in batch]
            if missing:
                raise ValueError(
                    f"a batch is a dict with the keys {', '.join(map(str, batch))}: say which are input and target with"
                    " data.keys: {input: ..., target: ...}, or replace Trainer.unpack"
                )
            return batch[keys.input], batch[keys.target]
        raise ValueError(f"a batch is a {type(batch).__name__}, not (input, target): replace Trainer.unpack")

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
        return {"loss": loss} if isinstance(loss, Tensor) else {"loss": sum_of(loss), **loss}


def sum_of(terms: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([term.float() for term in terms.values()]).sum()


def detached(output: Any) -> Any:
    """The same tensors, alone, in a tuple, list or dict, without their graph."""
    if isinstance(output, Tensor):
        return output.detach()
    if isinstance(output, Mapping):
        return {key: detached(value) for key, value in output.items()}
    if isinstance(output, tuple | list):
        return type(output)(detached(value) for value in output)
    return output
