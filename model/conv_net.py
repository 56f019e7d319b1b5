"""A plain convolutional network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Interval
from torch import Tensor, nn

from base.registry import MODELS


@MODELS.register
class ConvNet(nn.Module):
    """Stages of 3x3 convolution, batch norm, ReLU and 2x2 max pooling, then a hidden layer with dropout.

    (B, in_channels, H, W) float -> (B, num_classes) logits, for any H and W of at least 2 ** len(widths).
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        widths: Sequence[int] = (32, 64),
        hidden: int = 128,
        dropout: Annotated[float, Interval(ge=0, le=1)] = 0.25,
    ) -> None:
        super().__init__()
        stages = [
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
                nn.MaxPool2d(2),
            )
            for inputs, outputs in pairwise((in_channels, *widths))
        ]
        self.features = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * 4 * 4, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x))  # type: ignore[no-any-return]
