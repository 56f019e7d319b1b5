"""A multilayer perceptron."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from base.registry import MODELS


@MODELS.register
class MLP(nn.Module):
    """Flatten, then linear layers with ReLU between them. The defaults are PyTorch's quickstart network.

    (B, *input_shape) float -> (B, num_classes) logits.
    """

    def __init__(
        self, input_shape: Sequence[int] = (1, 28, 28), hidden: Sequence[int] = (512, 512), num_classes: int = 10
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((math.prod(input_shape), *hidden)):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        last = hidden[-1] if hidden else math.prod(input_shape)
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(*layers, nn.Linear(last, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.flatten(x))  # type: ignore[no-any-return]
