"""An example of a dataset and a transform: replace them with your own."""

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from base import DATASETS, TRANSFORMS


@DATASETS.register
class Points(Dataset[Any]):
    """Two interlocking half circles: float32 (2,) and a class, 0 or 1."""

    classes = ("upper", "lower")

    def __init__(self, train: bool = True, size: int = 400, noise: float = 0.1) -> None:
        generator = torch.Generator().manual_seed(int(train))
        angles = torch.rand(size, generator=generator) * torch.pi
        self.targets = torch.arange(size) % 2
        upper = torch.stack([angles.cos(), angles.sin()], 1)
        lower = torch.stack([1 - angles.cos(), 0.5 - angles.sin()], 1)
        self.points = torch.where(self.targets[:, None] == 0, upper, lower)
        self.points += noise * torch.randn(size, 2, generator=generator)

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.points[index], int(self.targets[index])


@TRANSFORMS.register
class Jitter:
    """Moves a point a little; a resumed run draws the same random numbers here."""

    def __init__(self, by: float = 0.05) -> None:
        self.by = by

    def __call__(self, point: Tensor) -> Tensor:
        return point + self.by * torch.randn_like(point)
