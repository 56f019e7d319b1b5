"""A list of transforms applied with the randomness of (seed, pass, position): to whole batches or to single samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_loader.transforms import Transform, Uniforms
from utils.seed import derive, foreign, uniforms

BLOCK = 1024
"""Samples whose uniform numbers are worked out together: for 64 alone the calls cost more than the numbers."""


class Step(NamedTuple):
    transform: Callable[..., Any]
    columns: slice
    """Which of the uniform numbers are its own."""
    stream: int


class SampleError(Exception):
    """Sample number `offset` of those given failed with `error`, in the transform named `step`."""

    def __init__(self, offset: int, step: str, error: Exception) -> None:
        super().__init__(offset, step, error)
        self.offset, self.step, self.error = offset, step, error


class Pipeline:
    """`transforms` in order; each has a stream of random numbers of its own below `seed`.

    The framework's own (`Transform`) treat a batch at once. Any other callable is given one sample at a time, under
    default generators that are seeded for it, once for several in a row.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], seed: int) -> None:
        self.transforms, self.seed = list(transforms), seed
        ends = list(itertools.accumulate((getattr(t, "draws", 0) for t in transforms), initial=0))
        self._draws, columns = ends[-1], [slice(*pair) for pair in itertools.pairwise(ends)]
        self._steps = [Step(*step) for step in zip(self.transforms, columns, itertools.count(), strict=False)]
        self._block, self._pass, self._first = np.empty((0, self._draws)), 0, 0

    def foreign_names(self) -> list[str]:
        """Those that treat one sample at a time."""
        return [_name(t) for t in self.transforms if not isinstance(t, Transform)]

    def on_batch(self, batch: Tensor, pass_: int, first: int) -> Tensor:
        """All transforms, none of them foreign, on a batch of samples that follow each other in the pass from position
        `first` on."""
        return _apply(self._steps, batch, self._numbers(pass_, first, batch.shape[0]))

    def on_samples(self, samples: list[Any], pass_: int, first: int) -> list[Any]:
        """All transforms on samples of any kind and shape; equal to `on_batch` where that applies."""
        numbers = self._numbers(pass_, first, len(samples))
        for whole, group in itertools.groupby(self._steps, lambda step: isinstance(step.transform, Transform)):
            steps = list(group)
            samples = _together(steps, samples, numbers) if whole else self._one_by_one(steps, samples, pass_, first)
        return samples

    def _numbers(self, pass_: int, first: int, count: int) -> Uniforms:
        """The uniform numbers of all transforms, side by side: one call costs what one for each would."""
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
        with foreign() as reseed:
            for position, sample in enumerate(samples, first):
                reseed(derive(self.seed, pass_, position, steps[0].stream))
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


def _together(steps: list[Step], samples: list[Any], numbers: Uniforms) -> list[Tensor]:
    """One batch if the samples have one shape and type, else a batch of each: the results are the same."""
    tensors = [as_tensor(sample) for sample in samples]
    if len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1:
        return list(_apply(steps, torch.stack(tensors), numbers).unbind())
    return [_apply(steps, tensor[None].clone(), numbers[i : i + 1], offset=i)[0] for i, tensor in enumerate(tensors)]


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
