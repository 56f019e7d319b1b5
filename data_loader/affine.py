"""Random affine maps of images: turned, shifted, scaled, sheared. Arguments and distributions are torchvision's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from base.registry import TRANSFORMS
from data_loader.transforms import Transform, Uniforms, between, per_channel


@TRANSFORMS.register
class RandomAffine(Transform):
    """Rotation, translation, scaling and shear about the centre, the image's size kept.

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
        grid = _sampling_grid(torch.from_numpy(matrices).float().to(batch.device), height, width)
        return _sample(batch, grid, self.interpolation, self.fill)


@TRANSFORMS.register
class RandomRotation(RandomAffine):
    """Turned counter-clockwise about the centre by an angle from (-n, n) or (low, high) degrees, the size kept.

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
