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
    """Algorithm 1 of Goodfellow et al. (2014), with one step of each model per batch. With BCEWithLogitsLoss the
    generator has the non-saturating loss of their section 3, with MSELoss the loss of Mao et al. (2016).

    The model `generator` turns noise (B, noise) into samples. `discriminator` returns a logit (B, 1), which is large
    for real samples. Each has the optimizer of the same name. `loss` is the generator's loss. Metrics compare generated
    samples with real ones.
    """

    def __init__(self, parts: TrainerComponents, noise: int = 64) -> None:
        super().__init__(parts)
        self.noise = noise

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        real, discriminator = batch[0], self.models["discriminator"]
        with self.precision.autocast():
            made = self.models["generator"](torch.randn(len(real), self.noise, device=self.device))
            discriminator_loss = self._discriminator_loss(real, made.detach())
        self.learn(discriminator_loss, "discriminator")
        with without_gradients(discriminator), self.precision.autocast():  # the generator's step needs none of them
            generator_loss = self._loss(made, 1.0)
        self.metrics.feed(made.detach(), real)
        return {"loss": generator_loss, "discriminator": discriminator_loss}

    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        real = batch[0]
        made = self.samples(len(real))
        self.metrics.feed(made, real)
        return {"loss": self._loss(made, 1.0), "discriminator": self._discriminator_loss(real, made)}

    def samples(self, count: int) -> Tensor:
        """Samples from the same noise at every call, so that epochs can be compared."""
        noise = torch.randn(count, self.noise, generator=torch.Generator().manual_seed(0))
        made: Tensor = self.models["generator"](noise.to(self.device))
        return made

    def _discriminator_loss(self, real: Tensor, made: Tensor) -> Tensor:
        return self._loss(real, 1.0) + self._loss(made, 0.0)

    def _loss(self, samples: Tensor, truth: float) -> Tensor:
        logits = self.models["discriminator"](samples)
        loss: Tensor = self.criterion(logits.float(), torch.full_like(logits, truth, dtype=torch.float32))
        return loss
