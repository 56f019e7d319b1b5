"""A small residual network for images of 28 to 64 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from base.registry import MODELS


@MODELS.register
class ResNet(nn.Module):
    """The CIFAR form of He et al. (2015), section 4.2: a 3x3 stem, then stages of `blocks` residual blocks, each stage
    after the first at half the resolution.

    (B, in_channels, H, W) float -> (B, num_classes) logits. torchvision's networks for larger images go by their own
    names, such as `resnet18`.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 10, widths: Sequence[int] = (16, 32, 64), blocks: int = 1
    ) -> None:
        super().__init__()
        self.stem = _conv_norm(in_channels, widths[0], stride=1)
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((widths[0], *widths)):
            stages.append(ResidualBlock(inputs, outputs, stride=1 if not stages else 2))
            stages += [ResidualBlock(outputs, outputs) for _ in range(blocks - 1)]
        self.stages = nn.Sequential(nn.ReLU(), *stages)
        self.classifier = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)))  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; (B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.path = nn.Sequential(_conv_norm(inputs, outputs, stride), nn.ReLU(), _conv_norm(outputs, outputs, 1))
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _conv_norm(inputs, outputs, stride, kernel=1)
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.path(x) + self.shortcut(x))  # type: ignore[no-any-return]


def _conv_norm(inputs: int, outputs: int, stride: int, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
