"""Random flips, crops, erasing and affine maps of images, with torchvision's arguments and distributions."""

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
from utils.batches import from_host

Probability = Annotated[float, Interval(ge=0, le=1)]


def probability(p: float, name: str) -> float:
    if not 0 <= p <= 1:
        raise ValueError(f"{name}: p must be in [0, 1], found {p}")
    return p


@TRANSFORMS.register
class RandomHorizontalFlip(Transform):
    """Mirrors left and right with probability `p`."""

    draws, dimension = 1, -1

    def __init__(self, p: Probability = 0.5) -> None:
        self.p = probability(p, type(self).__name__)

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        # Selecting from given and mirrored images is faster than a mask, and does not wait for the device.
        numbers = np.flatnonzero(uniforms[:, 0] < self.p)
        rows = np.arange(len(uniforms))
        rows[numbers] = np.arange(len(rows), len(rows) + len(numbers))
        mirrored = batch.index_select(0, from_host(numbers, batch.device)).flip(self.dimension)
        return torch.cat((batch, mirrored)).index_select(0, from_host(rows, batch.device))


@TRANSFORMS.register
class RandomVerticalFlip(RandomHorizontalFlip):
    """Mirrors top and bottom with probability `p`."""

    dimension = -2


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
        sides = [padding] if isinstance(padding, int) else list(padding or [0])
        if len(sides) not in (1, 2, 4) or min(sides) < 0:
            raise ValueError(f"RandomCrop: padding must be 1, 2 or 4 numbers from 0 up, found {padding}")
        self.height, self.width = sizes[0], sizes[-1]
        self.padding = sides * (4 // len(sides))
        """left, top, right, bottom"""
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
        rows = batch.reshape(-1).unfold(0, self.width, 1).index_select(0, from_host(starts.ravel(), batch.device))
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


def _pad_by_index(batch: Tensor, vertical: tuple[int, int], horizontal: tuple[int, int], mode: Any) -> Tensor:
    """Padding with the image's own pixels: torch pads no uint8 that way, and an index does."""
    for dimension, sides in ((-2, vertical), (-1, horizontal)):
        batch = batch.index_select(dimension, _padding_index(batch.shape[dimension], sides, mode, batch.device))
    return batch


@functools.lru_cache
def _padding_index(size: int, sides: tuple[int, int], mode: Any, device: torch.device) -> Tensor:
    return torch.from_numpy(np.pad(np.arange(size), sides, mode=mode)).to(device)


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
        boxes = from_host(self.rectangles(height, width, uniforms), batch.device)
        top, left, h, w = boxes.view(-1, 4, 1).unbind(1)
        y, x = torch.arange(height, device=batch.device), torch.arange(width, device=batch.device)
        rows, columns = (y >= top) & (y < top + h), (x >= left) & (x < left + w)
        # Factors of 0 and 1: products take a tenth of the time of a choice by a mask.
        inside = (rows.to(batch.dtype)[:, :, None] * columns.to(batch.dtype)[:, None, :])[:, None]
        batch.mul_(1 - inside)
        return batch if self.value == 0 else batch.add_(inside * per_channel(self.value, batch))


@TRANSFORMS.register
class RandomAffine(Transform):
    """Rotation, translation, scaling and shear about the centre; the image keeps its size.

    `degrees` and `shear` (of the x axis; with four numbers of both) are angles drawn from (-n, n) or (low, high),
    `translate` the largest shift as a share of (width, height), `scale` the range of the factor. `interpolation` is
    nearest or bilinear; what lies outside becomes `fill` (one number, or one per channel).
    """

    draws = 6

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        shear: float | Sequence[float] | None = None,
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        fill: float | Sequence[float] = 0,
        center: Sequence[float] | None = None,
    ) -> None:
        name = type(self).__name__
        self.degrees = _pair(degrees, f"{name}: degrees")
        self.translate = (0.0, 0.0) if translate is None else tuple(translate)
        if len(self.translate) != 2 or not all(0 <= share <= 1 for share in self.translate):
            raise ValueError(f"RandomAffine: translate must be two numbers in [0, 1], found {translate}")
        self.scale = (1.0, 1.0) if scale is None else tuple(scale)
        if len(self.scale) != 2 or min(self.scale) <= 0:
            raise ValueError(f"RandomAffine: scale must be two numbers above 0, found {scale}")
        self.shear_x, self.shear_y = _shears(shear)
        if interpolation not in ("nearest", "bilinear"):
            raise ValueError(f"{name}: interpolation must be nearest or bilinear, found {interpolation!r}")
        self.interpolation, self.fill, self.center = interpolation, fill, center

    def parameters(self, height: int, width: int, uniforms: Uniforms) -> Uniforms:
        """(B, 6): angle (degrees), shift in x and y (whole pixels), scale, shear of x and of y (degrees)."""
        shift_x, shift_y = self.translate[0] * width, self.translate[1] * height
        ranges = (self.degrees, (-shift_x, shift_x), (-shift_y, shift_y), self.scale, self.shear_x, self.shear_y)
        drawn = np.stack([between(u, *limits) for u, limits in zip(uniforms.T, ranges, strict=True)], axis=1)
        drawn[:, 1:3] = np.rint(drawn[:, 1:3])
        return drawn

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        height, width = batch.shape[-2:]
        parameters = self.parameters(height, width, uniforms)
        center = (0.0, 0.0) if self.center is None else (self.center[0] - width / 2, self.center[1] - height / 2)
        # grid_sample counts from -1 to 1 across the image.
        matrices = _inverse_affine(parameters, center) / np.repeat((width / 2, height / 2), 3)
        grid = _sampling_grid(from_host(matrices.astype(np.float32), batch.device), height, width)
        return _sample(batch, grid, self.interpolation, self.fill)


@TRANSFORMS.register
class RandomRotation(RandomAffine):
    """Turns counter-clockwise about the centre by an angle from (-n, n) or (low, high) degrees; the size stays.

    `interpolation`, `center` and `fill` are RandomAffine's.
    """

    draws = 1

    def __init__(
        self,
        degrees: float | Sequence[float],
        interpolation: Literal["nearest", "bilinear"] = "nearest",
        center: Sequence[float] | None = None,
        fill: float | Sequence[float] = 0,
    ) -> None:
        super().__init__(degrees, interpolation=interpolation, fill=fill, center=center)

    def parameters(self, height: int, width: int, uniforms: Uniforms) -> Uniforms:
        drawn = np.zeros((len(uniforms), 6))
        drawn[:, 0], drawn[:, 3] = -between(uniforms[:, 0], *self.degrees), 1
        return drawn


def _shears(shear: float | Sequence[float] | None) -> tuple[tuple[float, float], tuple[float, float]]:
    if shear is None:
        return (0.0, 0.0), (0.0, 0.0)
    if isinstance(shear, Sequence) and len(shear) == 4:
        return _pair(shear[:2], "RandomAffine: shear"), _pair(shear[2:], "RandomAffine: shear")
    return _pair(shear, "RandomAffine: shear"), (0.0, 0.0)


def _inverse_affine(parameters: Uniforms, center: tuple[float, float]) -> Uniforms:
    """(B, 6): the 2x3 matrices, row by row, from output to input pixels, measured from the image's centre.

    Inverts T(shift) C R(angle) S(scale) Sh_y Sh_x C^-1, C moving the origin to `center`, with
    Sh_x = [[1, -tan], [0, 1]] and Sh_y = [[1, 0], [-tan, 1]], as torchvision and Pillow define it.
    """
    angle, shift_x, shift_y, scale, shear_x, shear_y = np.ascontiguousarray(parameters.T)
    rotation, x, y = np.radians(angle), np.radians(shear_x), np.radians(shear_y)
    a = np.cos(rotation - y) / np.cos(y)
    b = -a * np.tan(x) - np.sin(rotation)
    c = np.sin(rotation - y) / np.cos(y)
    d = -c * np.tan(x) + np.cos(rotation)
    # The determinant of [[a, b], [c, d]] is 1: rotation and shears keep areas.
    a, b, c, d = d / scale, -b / scale, -c / scale, a / scale
    from_x, from_y = center[0] + shift_x, center[1] + shift_y
    return np.stack((a, b, center[0] - a * from_x - b * from_y, c, d, center[1] - c * from_x - d * from_y), axis=1)


def _sampling_grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 2) for grid_sample from (B, 6). Sums of products of our own: a matrix product's last bits would depend
    on the number of samples."""
    x = torch.arange(width, device=matrices.device) - (width - 1) / 2
    y = torch.arange(height, device=matrices.device)[:, None] - (height - 1) / 2
    a, b, shift_x, c, d, shift_y = matrices.view(-1, 6, 1, 1).unbind(1)
    grid = matrices.new_empty((len(matrices), height, width, 2))
    torch.add(a * x, b * y + shift_x, out=grid[..., 0])
    torch.add(c * x, d * y + shift_y, out=grid[..., 1])
    return grid


def _sample(batch: Tensor, grid: Tensor, interpolation: str, fill: float | Sequence[float]) -> Tensor:
    images = batch if batch.is_floating_point() else batch.float()
    grid = grid.to(images.dtype)
    pixels = F.grid_sample(images, grid, interpolation, "zeros", align_corners=False)
    if fill != 0:
        covered = F.grid_sample(torch.ones_like(images[:, :1]), grid, interpolation, "zeros", align_corners=False)
        pixels += (1 - covered) * per_channel(fill, images)
    return pixels if batch.is_floating_point() else pixels.round_().to(batch.dtype)


def _pair(value: float | Sequence[float], name: str) -> tuple[float, float]:
    """`value` as (low, high), a single number meaning (-number, number)."""
    if isinstance(value, int | float):
        if value < 0:
            raise ValueError(f"{name}: a single number must not be negative, found {value}")
        return -float(value), float(value)
    if len(value) != 2:
        raise ValueError(f"{name}: expected a number or (low, high), found {value}")
    return float(value[0]), float(value[1])
