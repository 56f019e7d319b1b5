"""A small generator and discriminator for images of 28x28, in the way of DCGAN (Radford et al., 2015)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base.registry import METRICS, MODELS


@MODELS.register
class ImageGenerator(nn.Module):
    """(B, noise) -> (B, channels, 28, 28) in [0, 1]."""

    def __init__(self, noise: int = 64, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(noise, 2 * width * 7 * 7, bias=False),
            nn.Unflatten(1, (2 * width, 7, 7)),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, noise: Tensor) -> Tensor:
        return self.layers(noise)  # type: ignore[no-any-return]


@MODELS.register
class ImageDiscriminator(nn.Module):
    """(B, channels, 28, 28) -> (B, 1) logits, large for what looks real."""

    def __init__(self, channels: int = 1, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(0.2),
            nn.Flatten(),
            nn.Linear(2 * width * 7 * 7, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]


@METRICS.register
def energy_distance(output: Tensor, target: Tensor) -> Tensor:
    """How far two sets of samples are apart, 0 for one distribution (Székely and Rizzo, 2013): twice the mean distance
    between the sets, less those within each. A batch's mean; (B, ...) each.
    """
    made, real = output.float().flatten(1), target.float().flatten(1)
    pairs = max(len(made) * (len(made) - 1), 1)
    within = (torch.cdist(made, made).sum() + torch.cdist(real, real).sum()) / pairs
    return 2 * torch.cdist(made, real).mean() - within
