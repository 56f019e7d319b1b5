"""The framework's transforms: one code for a sample and for a batch, parameters from the counter-based generator.

A transform takes a batch (B, C, H, W), uint8 or floating point, on any device, and `draws` uniform numbers for each of
its samples; it treats each sample by its own numbers alone, so that the result does not depend on what shares a batch.
The arguments and the distributions are those of torchvision.transforms.v2 of the same name, applied sample by sample.

    @TRANSFORMS.register
    class Noise(Transform):
        draws = 1

        def __call__(self, batch, uniforms): ...
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base.registry import TRANSFORMS

Uniforms = NDArray[np.float64]


class Transform(ABC):
    """Base class of transforms that work on whole batches."""

    draws: int = 0
    """Uniform numbers that one sample needs."""

    @abstractmethod
    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        """The transformed batch, which may be the given one, overwritten. `uniforms` is (B, draws) in [0, 1)."""


def between(uniforms: Uniforms, low: float, high: float) -> Uniforms:
    return low + (high - low) * uniforms


def per_channel(values: float | Sequence[float], batch: Tensor) -> Tensor:
    """`values` as a tensor that broadcasts over the channels (dimension 1) of a batch."""
    row = torch.tensor(values, dtype=batch.dtype, device=batch.device)
    return row.reshape(-1, *[1] * (batch.dim() - 2))


@TRANSFORMS.register
class ToFloat(Transform):
    """float32; integers are divided by the largest value of their type: uint8 0..255 becomes 0..1."""

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if batch.is_floating_point() or batch.dtype == torch.bool:
            return batch.to(torch.float32)
        return batch.to(torch.float32).div_(_largest(batch.dtype, batch.device))


@functools.lru_cache
def _largest(dtype: torch.dtype, device: torch.device) -> Tensor:
    """As a tensor: CUDA divides by a plain number as a product with its reciprocal, which rounds another way."""
    return torch.full((), torch.iinfo(dtype).max, dtype=torch.float32, device=device)


@TRANSFORMS.register
class Normalize(Transform):
    """`(x - mean) / std` with one mean and std per channel (dimension 1), or one for all; floating point only."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std):
            raise ValueError(f"Normalize: expected as many mean as std, found {len(mean)} and {len(std)}")
        if 0 in std:
            raise ValueError(f"Normalize: std must not be 0, found {list(std)}")
        self.mean, self.std = torch.tensor(mean, dtype=torch.float32), torch.tensor(std, dtype=torch.float32)

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if not batch.is_floating_point():
            raise ValueError(f"Normalize: expected floating point, found {batch.dtype}; put ToFloat before it")
        if len(self.mean) not in (1, batch.shape[1]):
            raise ValueError(
                f"Normalize: expected one mean or {batch.shape[1]}, one per channel, found {len(self.mean)}"
            )
        shape = (-1, *[1] * (batch.dim() - 2))
        return batch.sub_(self.mean.to(batch).view(shape)).div_(self.std.to(batch).view(shape))


@TRANSFORMS.register
class OneHot(Transform):
    """For `target_transform`: class numbers (B,), int64, as float32 rows (B, num_classes) with a single 1."""

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ValueError(f"OneHot: num_classes must be 1 or more, found {num_classes}")
        self.num_classes = num_classes

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        return torch.nn.functional.one_hot(batch.long(), self.num_classes).float()
