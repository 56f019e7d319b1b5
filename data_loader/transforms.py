"""Transforms and the pipeline that applies them to whole batches or single samples, with equal results.

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
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from base.protocols import DrawsNumbers
from base.registry import TRANSFORMS
from utils.seed import fold_in, isolated_rng, uniforms

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
    """`values` as a tensor that broadcasts over the channels (dimension 1) of a batch. Not to be written to."""
    given = (values,) if isinstance(values, int | float) else tuple(values)
    return _constant(given, batch.dim() - 2, batch.dtype, batch.device)


@functools.lru_cache
def _constant(values: tuple[float, ...], dims: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Made once: each copy to an accelerator would wait for it."""
    return torch.tensor(values, dtype=dtype, device=device).reshape(-1, *[1] * dims)


@TRANSFORMS.register
class ToFloat(Transform):
    """float32; integers are divided by the largest value of their type: uint8 0..255 becomes 0..1."""

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if batch.is_floating_point() or batch.dtype == torch.bool:
            return batch.to(torch.float32)
        # A tensor: CUDA divides by a plain number as a product with its reciprocal, which rounds another way.
        largest = _constant((torch.iinfo(batch.dtype).max,), 0, torch.float32, batch.device)
        return batch.to(torch.float32).div_(largest[0])


@TRANSFORMS.register
class Normalize(Transform):
    """`(x - mean) / std` with one mean and std per channel (dimension 1), or one for all; floating point only."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if len(mean) != len(std):
            raise ValueError(f"Normalize: expected as many mean as std, found {len(mean)} and {len(std)}")
        if 0 in std:
            raise ValueError(f"Normalize: std must not be 0, found {list(std)}")
        self.mean, self.std = (torch.tensor(values, dtype=torch.float32).tolist() for values in (mean, std))

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        if not batch.is_floating_point():
            raise ValueError(f"Normalize: expected floating point, found {batch.dtype}; put ToFloat before it")
        if len(self.mean) not in (1, batch.shape[1]):
            raise ValueError(
                f"Normalize: expected one mean or {batch.shape[1]}, one per channel, found {len(self.mean)}"
            )
        return batch.sub_(per_channel(self.mean, batch)).div_(per_channel(self.std, batch))


@TRANSFORMS.register
class OneHot(Transform):
    """For `target_transform`: class numbers (B,), int64, as float32 rows (B, num_classes) with a single 1."""

    def __init__(self, num_classes: int) -> None:
        if num_classes < 1:
            raise ValueError(f"OneHot: num_classes must be 1 or more, found {num_classes}")
        self.num_classes = num_classes

    def __call__(self, batch: Tensor, uniforms: Uniforms) -> Tensor:
        return torch.nn.functional.one_hot(batch.long(), self.num_classes).float()


BLOCK = 1024
"""Samples whose uniform numbers are calculated together: for 64 alone the calls cost more than the numbers."""


class Step(NamedTuple):
    transform: Callable[..., Any]
    columns: slice
    """Its part of the uniform numbers."""
    stream: int


class SampleError(Exception):
    """Sample number `offset` of those given failed with `error`, in the transform named `step`."""

    def __init__(self, offset: int, step: str, error: Exception) -> None:
        super().__init__(offset, step, error)
        self.offset, self.step, self.error = offset, step, error


class Pipeline:
    """`transforms` in order; each has a stream of random numbers of its own below `seed`.

    A `Transform` gets the whole batch. Any other callable gets one sample at a time, with the default generators seeded
    for it, once for several such callables in a row.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], seed: int) -> None:
        self.transforms, self.seed = list(transforms), seed
        draws = [t.draws if isinstance(t, DrawsNumbers) else 0 for t in transforms]
        ends = list(itertools.accumulate(draws, initial=0))
        self._draws, columns = ends[-1], [slice(*pair) for pair in itertools.pairwise(ends)]
        self._steps = [Step(*step) for step in zip(self.transforms, columns, itertools.count(), strict=False)]
        self._block, self._pass, self._first = np.empty((0, self._draws)), 0, 0
        self.single_sample = [_name(t) for t in transforms if not isinstance(t, Transform)]
        """Names of those that treat one sample at a time."""

    def on_batch(self, batch: Tensor, pass_: int, first: int) -> Tensor:
        """All transforms, each a `Transform`, on a batch of samples at consecutive positions from `first` on."""
        return _apply(self._steps, batch, self._numbers(pass_, first, batch.shape[0]))

    def on_samples(self, samples: list[Any], pass_: int, first: int) -> list[Any]:
        """All transforms on samples of any kind and shape; the results equal those of `on_batch`."""
        numbers = self._numbers(pass_, first, len(samples))
        for whole, group in itertools.groupby(self._steps, lambda step: isinstance(step.transform, Transform)):
            steps = list(group)
            if not whole:
                samples = self._one_by_one(steps, samples, pass_, first)
                continue
            tensors = [as_tensor(sample) for sample in samples]
            if len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1:
                samples = list(_apply(steps, torch.stack(tensors), numbers).unbind())
            else:  # a batch of each, with the same results
                each = enumerate(tensors)
                samples = [_apply(steps, one[None].clone(), numbers[i : i + 1], offset=i)[0] for i, one in each]
        return samples

    def _numbers(self, pass_: int, first: int, count: int) -> Uniforms:
        """The uniform numbers of all transforms side by side, from one call instead of one for each transform."""
        if not self._draws:
            return np.empty((count, 0))
        begin = first - self._first
        if pass_ != self._pass or begin < 0 or begin + count > len(self._block):
            positions = np.arange(first, first + max(count, BLOCK))
            self._block = uniforms(self.seed, pass_, positions, 0, self._draws)
            self._pass, self._first, begin = pass_, first, 0
        return self._block[begin : begin + count]

    def _one_by_one(self, steps: list[Step], samples: list[Any], pass_: int, first: int) -> list[Any]:
        done = list[Any]()
        with isolated_rng() as reseed:
            for position, sample in enumerate(samples, first):
                reseed(fold_in(self.seed, pass_, position, steps[0].stream))
                for transform, _, _ in steps:
                    try:
                        sample = transform(sample)
                    except Exception as error:
                        raise SampleError(len(done), _name(transform), error) from error
                done.append(sample)
        return done


def _apply(steps: list[Step], batch: Tensor, numbers: Uniforms, offset: int = 0) -> Tensor:
    for transform, columns, _ in steps:
        try:
            batch = transform(batch, numbers[:, columns])
        except Exception as error:
            raise SampleError(offset, _name(transform), error) from error
    return batch


def as_tensor(value: Any) -> Tensor:
    """A tensor of an image of PIL, uint8 (C, H, W), of an array or of a number."""
    if isinstance(value, Tensor):
        return value
    if hasattr(value, "getbands"):
        pixels = torch.from_numpy(np.array(value))
        return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1).contiguous()
    return torch.as_tensor(value)


def _name(transform: Any) -> str:
    return str(getattr(transform, "__name__", None) or type(transform).__name__)


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
