"""Random changes of images: mirrored, shifted, partly erased. Arguments and distributions are torchvision's."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from base.registry import TRANSFORMS
from data_loader.transforms import Transform, Uniforms, between, per_channel

Probability = Annotated[float, Interval(ge=0, le=1)]


def probability(p: float, name: str) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be in [0, 1], found {p}")
    return p


@TRANSFORMS.register
class RandomHorizontalFlip(Transform):
    """Mirrors left and right with probability `p`."""

    draws = 1

    def __init__(self, p: Probability = 0.5) -> None:
        self.p = probability(p, "RandomHorizontalFlip")

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        return _flipped(batch, uniforms[:, 0] < self.p, -1)


@TRANSFORMS.register
class RandomVerticalFlip(Transform):
    """Mirrors top and bottom with probability `p`."""

    draws = 1

    def __init__(self, p: Probability = 0.5) -> None:
        self.p = probability(p, "RandomVerticalFlip")

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        return _flipped(batch, uniforms[:, 0] < self.p, -2)


def _flipped(batch: Tensor, chosen: NDArray[np.bool_], dimension: int) -> Tensor:
    """The batch with the chosen images mirrored. Picking from given and mirrored ones is faster than a choice by a mask
    or writing to them, and needs no wait for the device."""
    numbers = np.flatnonzero(chosen)
    rows = np.arange(len(chosen))
    rows[numbers] = np.arange(len(chosen), len(chosen) + len(numbers))
    mirrored = batch.index_select(0, torch.from_numpy(numbers).to(batch.device)).flip(dimension)
    return torch.cat((batch, mirrored)).index_select(0, torch.from_numpy(rows).to(batch.device))


@TRANSFORMS.register
class RandomCrop(Transform):
    """A window of `size` at a random place, after padding by `padding`: all | (x, y) | (left, top, right, bottom).

    `pad_if_needed` pads a smaller image on both sides by what it lacks. `padding_mode` is constant (with `fill`, one
    value or one per channel), edge, reflect or symmetric.
    """

    draws = 2

    def __init__(
        self,
        size: int | Sequence[int],
        padding: int | Sequence[int] | None = None,
        pad_if_needed: bool = False,
        fill: float | Sequence[float] = 0,
        padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant",
    ) -> None:
        sizes = [size] if isinstance(size, int) else list(size)
        if len(sizes) not in (1, 2) or min(sizes) < 1:
            raise ValueError(f"RandomCrop: size must be one or two positive numbers, found {size}")
        if padding_mode not in ("constant", "edge", "reflect", "symmetric"):
            raise ValueError(
                f"RandomCrop: padding_mode must be constant, edge, reflect or symmetric, found {padding_mode!r}"
            )
        self.height, self.width = sizes[0], sizes[-1]
        self.padding = _sides(padding or 0)
        self.pad_if_needed, self.fill, self.padding_mode = pad_if_needed, fill, padding_mode

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        batch = self._padded(batch)
        count, channels, height, width = batch.shape
        if height < self.height or width < self.width:
            raise ValueError(
                f"RandomCrop: a window of {self.height}x{self.width} does not fit into {height}x{width} (padded); "
                "raise padding or set pad_if_needed"
            )
        top = (uniforms[:, 0] * (height - self.height + 1)).astype(np.int64)
        left = (uniforms[:, 1] * (width - self.width + 1)).astype(np.int64)
        # The rows of all windows lie in the flat batch as runs of `self.width`: one copy of many short runs.
        corners = (np.arange(count) * (channels * height) + top) * width + left
        starts = corners[:, None] + _row_offsets(channels, height, width, self.height)
        rows = (
            batch.reshape(-1)
            .unfold(0, self.width, 1)
            .index_select(0, torch.from_numpy(starts.ravel()).to(batch.device))
        )
        return rows.view(count, channels, self.height, self.width)

    def _padded(self, batch: Tensor) -> Tensor:
        left, top, right, bottom = self.padding
        if self.pad_if_needed:
            lack_x = max(0, self.width - (batch.shape[-1] + left + right))
            lack_y = max(0, self.height - (batch.shape[-2] + top + bottom))
            left, right, top, bottom = left + lack_x, right + lack_x, top + lack_y, bottom + lack_y
        if not any((left, top, right, bottom)):
            return batch
        if self.padding_mode != "constant":
            return _pad_by_index(batch, (top, bottom), (left, right), self.padding_mode)
        if isinstance(self.fill, int | float):
            return F.pad(batch, (left, right, top, bottom), value=self.fill)
        count, channels, height, width = batch.shape
        padded = (
            per_channel(self.fill, batch)
            .expand(count, channels, height + top + bottom, width + left + right)
            .contiguous()
        )
        padded[:, :, top : top + height, left : left + width] = batch
        return padded


@functools.lru_cache
def _row_offsets(channels: int, height: int, width: int, rows: int) -> NDArray[np.int64]:
    """Where the first `rows` rows of each channel begin in a flat image."""
    return (np.arange(channels)[:, None] * height + np.arange(rows)).ravel() * width


def _sides(padding: int | Sequence[int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom)"""
    values = [padding] if isinstance(padding, int) else list(padding)
    if len(values) not in (1, 2, 4) or min(values) < 0:
        raise ValueError(f"RandomCrop: padding must be 1, 2 or 4 numbers from 0 up, found {padding}")
    left, top, right, bottom = values * (4 // len(values))
    return left, top, right, bottom


def _pad_by_index(batch: Tensor, vertical: tuple[int, int], horizontal: tuple[int, int], mode: Any) -> Tensor:
    """Padding with the image's own pixels: torch pads no uint8 that way, and an index does."""
    for dimension, sides in ((-2, vertical), (-1, horizontal)):
        index = np.pad(np.arange(batch.shape[dimension]), sides, mode=mode)
        batch = batch.index_select(dimension, torch.from_numpy(index).to(batch.device))
    return batch


@TRANSFORMS.register
class RandomErasing(Transform):
    """With probability `p`, fills a rectangle with `value` (one number, or one per channel).

    Its share of the image is drawn from `scale`, height / width log-uniformly from `ratio`. A rectangle that does not
    fit is drawn again, up to ten times in all; then the image stays as it is.
    """

    _TRIES = 10
    draws = 3 + 2 * _TRIES

    def __init__(
        self,
        p: Probability = 0.5,
        scale: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        value: float | Sequence[float] = 0,
    ) -> None:
        if not 0 <= scale[0] <= scale[1] <= 1:
            raise ValueError(f"RandomErasing: scale must be (low, high) in [0, 1], found {scale}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomErasing: ratio must be (low, high) above 0, found {ratio}")
        self.p = probability(p, "RandomErasing")
        self.scale, self.ratio, self.value = tuple(scale), tuple(ratio), value

    def rectangles(self, height: int, width: int, uniforms: Uniforms) -> NDArray[np.int64]:
        """(B, 4): top, left, height, width of each image's rectangle; height and width are 0 where none is erased."""
        columns = np.ascontiguousarray(uniforms.T)
        tries = columns[3:].reshape(2, self._TRIES, -1)
        area = height * width * between(tries[0], self.scale[0], self.scale[1])
        aspect = np.exp(between(tries[1], math.log(self.ratio[0]), math.log(self.ratio[1])))
        heights, widths = np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))
        fits = (heights < height) & (widths < width)
        first = fits.argmax(axis=0)
        images = np.arange(len(uniforms))
        erased = fits[first, images] & (columns[0] < self.p)
        h, w = heights[first, images] * erased, widths[first, images] * erased
        top, left = columns[1] * (height - h + 1), columns[2] * (width - w + 1)
        return np.stack((top, left, h, w), axis=1).astype(np.int64)

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        height, width = batch.shape[-2:]
        boxes = torch.from_numpy(self.rectangles(height, width, uniforms)).to(batch.device)
        top, left, h, w = boxes.view(-1, 4, 1).unbind(1)
        y, x = torch.arange(height, device=batch.device), torch.arange(width, device=batch.device)
        rows, columns = (y >= top) & (y < top + h), (x >= left) & (x < left + w)
        # Factors of 0 and 1: products take a tenth of the time of a choice by a mask.
        inside = (rows.to(batch.dtype)[:, :, None] * columns.to(batch.dtype)[:, None, :])[:, None]
        batch.mul_(1 - inside)
        return batch if self.value == 0 else batch.add_(inside * per_channel(self.value, batch))
