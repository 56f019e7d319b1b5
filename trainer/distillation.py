"""Knowledge distillation: an example of a trainer that replaces one method."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from base.loop.components import TrainerComponents
from base.registry import TRAINERS
from trainer.supervised import Trainer
from utils.batches import size_of


@TRAINERS.register
class Distillation(Trainer):
    """Knowledge distillation as in Hinton et al. (2015): the trained model learns from the frozen model `teacher`. The
    loss is `weight` times the divergence between the softened class probabilities, scaled by the temperature squared,
    plus (1 - `weight`) times the config's loss.
    """

    def __init__(
        self,
        parts: TrainerComponents,
        temperature: Annotated[float, Gt(0)] = 4.0,
        weight: Annotated[float, Ge(0), Le(1)] = 0.9,
    ) -> None:
        super().__init__(parts)
        self.temperature, self.weight = temperature, weight

    def compute_loss(self, output: Any, target: Any, batch: Any) -> dict[str, Tensor]:
        with torch.no_grad():
            taught = self.models["teacher"](self.unpack(batch)[0])
        student, teacher = (log_softmax(logits.float() / self.temperature, 1) for logits in (output, taught))
        divergence = kl_div(student, teacher, reduction="batchmean", log_target=True) * self.temperature**2
        return {"teacher": self.weight * divergence, "labels": (1 - self.weight) * self.criterion(output, target)}

    def count(self, batch: Any) -> dict[str, Any]:
        return {"teacher": size_of(batch), "labels": super().count(batch)}
