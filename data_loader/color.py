"""Random changes of color. Arguments, formulas and distributions are those of torchvision.transforms.v2.

Integers keep torchvision's rounding: cut off after each change. Every value is computed by operations on single pixels,
sums too, so that an image comes out the same to the last bit whatever shares its batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base.registry import TRANSFORMS
from data_loader.augmentation import Probability, probability
from data_loader.transforms import Transform, Uniforms, between
from utils.batches import from_host

_LUMA = (0.2989, 0.587, 0.114)  # of red, green and blue: ITU-R 601-2


@TRANSFORMS.register
class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue changed by random factors, in random order.

    The first three are drawn from [max(0, 1 - x), 1 + x], `hue`, a share of the colour circle, from [-x, x] with x up
    to 0.5; or from (low, high). Images have one channel, of which only brightness and contrast change, or three.
    """

    draws = 8

    def __init__(
        self,
        brightness: float | Sequence[float] = 0,
        contrast: float | Sequence[float] = 0,
        saturation: float | Sequence[float] = 0,
        hue: float | Sequence[float] = 0,
    ) -> None:
        self.ranges = [
            _range(brightness, "brightness", 1),
            _range(contrast, "contrast", 1),
            _range(saturation, "saturation", 1),
            _range(hue, "hue", 0, 0.5),
        ]
        neutral = ((1, 1), (1, 1), (1, 1), (0, 0))
        self.active = [number for number, limits in enumerate(self.ranges) if limits != neutral[number]]

    def factors(self, uniforms: Uniforms) -> Uniforms:
        """(B, 4): of brightness, contrast and saturation, and the shift of hue."""
        return np.stack([between(uniforms[:, i], *limits) for i, limits in enumerate(self.ranges)], axis=1)

    def orders(self, uniforms: Uniforms, changes: Sequence[int] = range(4)) -> NDArray[Any]:
        """(B, len(changes)): which of the changes comes first, second ..."""
        return uniforms[:, [4 + number for number in changes]].argsort(axis=1, kind="stable")

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if batch.shape[1] not in (1, 3):
            raise ValueError(f"ColorJitter: expected images of 1 or 3 channels, found {batch.shape[1]}")
        active = [number for number in self.active if number < 2 or batch.shape[1] == 3]
        if not active:
            return batch
        factors, places = self.factors(uniforms), self.orders(uniforms, active).argsort(axis=1)
        pixels = batch if batch.is_floating_point() else batch.float()
        whole = None if batch.is_floating_point() else float(torch.iinfo(batch.dtype).max)
        for place in range(len(active)):
            for column, change in enumerate(active):
                chosen = np.flatnonzero(places[:, column] == place)
                pixels = _changed(pixels, chosen, _CHANGES[change], factors[chosen, change], whole)
        return pixels.to(batch.dtype)


def _changed(
    pixels: Tensor, chosen: NDArray[Any], change: Callable[..., Tensor], factors: Uniforms, whole: float | None
) -> Tensor:
    """The batch, overwritten, with the chosen images changed by their factors and cut to what their type holds."""
    if not len(chosen):
        return pixels
    rows = from_host(chosen, pixels.device)
    images = pixels if len(chosen) == len(pixels) else pixels.index_select(0, rows)
    images = change(images, factors.reshape(-1, 1, 1, 1), whole).clamp_(0, whole or 1)
    images = images if whole is None else images.floor_()
    return images if len(chosen) == len(pixels) else pixels.index_copy_(0, rows, images)


def _brightness(images: Tensor, factors: Uniforms, whole: float | None) -> Tensor:
    return images * _like(factors, images)


def _contrast(images: Tensor, factors: Uniforms, whole: float | None) -> Tensor:
    gray = _gray(images, whole)
    mean = _sum(gray.flatten(1)) / gray[0].numel()
    return _blended(images, mean.view(-1, 1, 1, 1), factors)


def _saturation(images: Tensor, factors: Uniforms, whole: float | None) -> Tensor:
    return _blended(images, _gray(images, whole), factors)


def _hue(images: Tensor, shifts: Uniforms, whole: float | None) -> Tensor:
    red, green, blue = (images if whole is None else images / whole).unbind(1)
    value = torch.maximum(torch.maximum(red, green), blue)
    chroma = value - torch.minimum(torch.minimum(red, green), blue)
    safe = torch.where(chroma == 0, 1, chroma)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    turned = torch.remainder(sector / 6 + _like(shifts[..., 0], images), 1) * 6
    # Smith (1978), Color gamut transform pairs, in one formula for the three channels.
    sectors = [torch.remainder(turned + number, 6) for number in (5, 3, 1)]
    shifted = torch.stack([value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1) for k in sectors], dim=1)
    return shifted if whole is None else shifted.mul_(whole + 1 - 1e-3)


_CHANGES = (_brightness, _contrast, _saturation, _hue)


def _blended(images: Tensor, others: Tensor, shares: Uniforms) -> Tensor:
    return images * _like(shares, images) + others * _like(1 - shares, images)


def _gray(images: Tensor, whole: float | None) -> Tensor:
    """(B, 1, H, W)"""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel : channel + 1] for channel in range(3))
    gray = red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
    return gray if whole is None else gray.floor_()


def _sum(rows: Tensor) -> Tensor:
    """(B,) of (B, N): halves are added to each other. How torch's own sum divides a row among threads depends on B."""
    while (length := rows.shape[1]) > 1:
        half = length // 2
        folded = rows[:, :half] + rows[:, half : 2 * half]
        rows = torch.cat((folded, rows[:, 2 * half :]), dim=1) if length % 2 else folded
    return rows[:, 0]


def _like(values: Uniforms, images: Tensor) -> Tensor:
    return from_host(torch.from_numpy(values).to(images.dtype), images.device)


def _range(
    value: float | Sequence[float], name: str, center: float, bound: float = float("inf")
) -> tuple[float, float]:
    if isinstance(value, int | float):
        low, high = center - value, center + value
        low = max(low, 0.0) if center else low
    else:
        low, high = value
    least = 0 if center else -bound
    if not least <= low <= high <= bound:
        raise ValueError(
            f"ColorJitter: {name} must be a number from 0 up or (low, high){_within(bound)}, found {value}"
        )
    return float(low), float(high)


def _within(bound: float) -> str:
    return f" within [-{bound:g}, {bound:g}]" if bound < float("inf") else " from 0 up"


@TRANSFORMS.register
class RandomGrayscale(Transform):
    """With probability `p`, the luminance in every channel of an RGB image; images of one channel stay as they are."""

    draws = 1

    def __init__(self, p: Probability = 0.1) -> None:
        self.p = probability(p, "RandomGrayscale")

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if batch.shape[1] not in (1, 3):
            raise ValueError(f"RandomGrayscale: expected images of 1 or 3 channels, found {batch.shape[1]}")
        chosen = np.flatnonzero(uniforms[:, 0] < self.p)
        if batch.shape[1] == 1 or not len(chosen):
            return batch
        rows = from_host(chosen, batch.device)
        images = batch.index_select(0, rows)
        gray = _gray(images if images.is_floating_point() else images.float(), None).to(batch.dtype)
        return batch.index_copy_(0, rows, gray.expand(-1, 3, -1, -1))
