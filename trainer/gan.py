"""Generative adversarial networks: an example of a trainer with two models and two optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base.loop.base_trainer import BaseTrainer
from base.loop.components import TrainerComponents
from base.loop.optim import without_gradients
from base.registry import TRAINERS


@TRAINERS.register
class GAN(BaseTrainer):
    """Goodfellow et al. (2014), algorithm 1 with a step of each; with BCEWithLogitsLoss the generator's loss is the one
    of section 3 that does not saturate, with MSELoss that of Mao et al. (2016).

    The model `generator` makes samples from noise (B, noise), `discriminator` gives a logit (B, 1) of a sample's being
    real; each has the optimizer of its name. `loss` is the generator's. Metrics compare made samples with real ones.
    """

    def __init__(self, parts: TrainerComponents, noise: int = 64) -> None:
        super().__init__(parts)
        self.noise = noise

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        real, discriminator = batch[0], self.models["discriminator"]
        with self.precision.autocast():
            made = self.models["generator"](torch.randn(len(real), self.noise, device=self.device))
            judging = self._judging(real, made.detach())
        self.learn(judging, "discriminator")
        with without_gradients(discriminator), self.precision.autocast():  # the generator's loss asks for none of it
            fooling = self._against(made, 1.0)
        self.metrics.feed(made.detach(), real)
        return {"loss": fooling, "discriminator": judging}

    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        real = batch[0]
        made = self.samples(len(real))
        self.metrics.feed(made, real)
        return {"loss": self._against(made, 1.0), "discriminator": self._judging(real, made)}

    def samples(self, count: int) -> Tensor:
        """The same noise at every call, so that one epoch can be held against another."""
        noise = torch.randn(count, self.noise, generator=torch.Generator().manual_seed(0))
        made: Tensor = self.models["generator"](noise.to(self.device))
        return made

    def _judging(self, real: Tensor, made: Tensor) -> Tensor:
        return self._against(real, 1.0) + self._against(made, 0.0)

    def _against(self, samples: Tensor, truth: float) -> Tensor:
        logits = self.models["discriminator"](samples)
        loss: Tensor = self.criterion(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))
        return loss
