"""Images brought to a size. Arguments and formulas are those of torchvision.transforms.v2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from base.registry import TRANSFORMS
from data_loader.transforms import Transform, Uniforms


@TRANSFORMS.register
class Resize(Transform):
    """Resamples to `size`: (height, width), or a number that the shorter side is to have, the longer one in proportion.

    With `max_size` the longer side is at most that. `antialias` smooths what is made smaller, of bilinear and bicubic.
    """

    def __init__(
        self,
        size: int | Sequence[int],
        interpolation: Literal["nearest", "nearest-exact", "bilinear", "bicubic"] = "bilinear",
        max_size: int | None = None,
        antialias: bool = True,
    ) -> None:
        self.size = _sizes(size, "Resize")
        if interpolation not in ("nearest", "nearest-exact", "bilinear", "bicubic"):
            raise ValueError(
                f"Resize: interpolation must be nearest, nearest-exact, bilinear or bicubic, found {interpolation!r}"
            )
        if max_size is not None and (len(self.size) > 1 or max_size <= self.size[0]):
            raise ValueError(f"Resize: max_size must be more than size, a single number, found {max_size} and {size}")
        self.interpolation, self.max_size = interpolation, max_size
        self.antialias = antialias and interpolation in ("bilinear", "bicubic")

    def target(self, height: int, width: int) -> tuple[int, int]:
        if len(self.size) == 2:
            return self.size[0], self.size[1]
        short, long = sorted((height, width))
        to_short, to_long = self.size[0], int(self.size[0] * long / short)
        if self.max_size is not None and to_long > self.max_size:
            to_short, to_long = int(self.max_size * to_short / to_long), self.max_size
        return (to_short, to_long) if height <= width else (to_long, to_short)

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        size = self.target(*batch.shape[-2:])
        if size == tuple(batch.shape[-2:]):
            return batch
        smooth = self.interpolation in ("bilinear", "bicubic")
        # The CPU resamples bytes as they are, four times as fast; other devices and types know floats only.
        direct = batch.is_floating_point() or (batch.dtype == torch.uint8 and batch.device.type == "cpu")
        images = batch if direct or not smooth else batch.float()
        images = F.interpolate(images, size, mode=self.interpolation, antialias=self.antialias)
        if images.dtype == batch.dtype:
            return images
        info = torch.iinfo(batch.dtype)
        return images.round_().clamp_(info.min, info.max).to(batch.dtype)


@TRANSFORMS.register
class CenterCrop(Transform):
    """The middle of an image, `size` being one number or (height, width); a smaller image is padded with 0."""

    def __init__(self, size: int | Sequence[int]) -> None:
        sizes = _sizes(size, "CenterCrop")
        self.height, self.width = sizes[0], sizes[-1]

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        lack_y, lack_x = max(0, self.height - batch.shape[-2]), max(0, self.width - batch.shape[-1])
        if lack_x or lack_y:
            batch = F.pad(batch, (lack_x // 2, (lack_x + 1) // 2, lack_y // 2, (lack_y + 1) // 2))
        top, left = round((batch.shape[-2] - self.height) / 2), round((batch.shape[-1] - self.width) / 2)
        return batch[..., top : top + self.height, left : left + self.width].contiguous()


def _sizes(size: int | Sequence[int], name: str) -> list[int]:
    sizes = [size] if isinstance(size, int) else list(size)
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise ValueError(f"{name}: size must be one or two positive numbers, found {size}")
    return sizes
