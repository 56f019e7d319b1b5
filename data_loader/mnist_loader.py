"""MNIST as a loader in pytorch-template's style: an example of a BaseDataLoader, for configs/mnist_lenet.json."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from base.base_data_loader import BaseDataLoader
from base.registry import DATASETS
from data_loader.images import MNIST

MEAN, STD = 0.1307, 0.3081
"""Of the training images, scaled to [0, 1]."""


def normalized(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """uint8 images and class numbers to float32 (B, 1, 28, 28) of mean 0 and deviation 1, and int64 (B,)."""
    images = torch.stack([image for image, _ in samples]).float() / 255
    return (images - MEAN) / STD, torch.tensor([label for _, label in samples])


@DATASETS.register
class MnistDataLoader(BaseDataLoader):
    """Handwritten digits: 60,000 of which `validation_split` are held out, or, not `training`, the 10,000 for tests."""

    def __init__(
        self,
        data_dir: str,
        batch_size: int,
        shuffle: bool = True,
        validation_split: float = 0.0,
        num_workers: int = 0,
        training: bool = True,
        download: bool = True,
        **options: Any,
    ) -> None:
        digits = MNIST(data_dir, train=training, download=download)
        super().__init__(digits, batch_size, shuffle, validation_split, num_workers, normalized, **options)
