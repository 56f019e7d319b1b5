"""A list of transforms applied with the randomness of (seed, pass, position): to whole batches or to single samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_loader.transforms import Transform, Uniforms
from utils.seed import derive, foreign, uniforms

Positions = NDArray[np.int64]


class SampleError(Exception):
    """Sample number `offset` of those given failed with `error`, in the transform named `step`."""

    def __init__(self, offset: int, step: str, error: Exception) -> None:
        super().__init__(offset, step, error)
        self.offset, self.step, self.error = offset, step, error


class Pipeline:
    """`transforms` in order; each has a stream of random numbers of its own below `seed`.

    The framework's own (`Transform`) treat a batch at once. Any other callable is given one sample at a time, under
    default generators that are seeded for it.
    """

    def __init__(self, transforms: Sequence[Callable[..., Any]], seed: int) -> None:
        self.transforms, self.seed = list(transforms), seed
        ends = list(itertools.accumulate((getattr(t, "draws", 0) for t in transforms), initial=0))
        self._draws, self._columns = ends[-1], [slice(*pair) for pair in itertools.pairwise(ends)]

    def foreign_names(self) -> list[str]:
        """Those that treat one sample at a time."""
        return [_name(t) for t in self.transforms if not isinstance(t, Transform)]

    def on_batch(self, batch: Tensor, pass_: int, positions: Positions) -> Tensor:
        """All transforms, none of them foreign, on a batch of samples that stand at `positions` of the pass."""
        numbers = self._numbers(pass_, positions)
        for transform, columns in zip(self.transforms, self._columns, strict=True):
            try:
                batch = transform(batch, numbers[:, columns])
            except Exception as error:
                raise SampleError(0, _name(transform), error) from error
        return batch

    def on_samples(self, samples: list[Any], pass_: int, positions: Positions) -> list[Any]:
        """All transforms on samples of any kind and shape; equal to `on_batch` where that applies."""
        numbers = self._numbers(pass_, positions)
        for stream, transform in enumerate(self.transforms):
            if isinstance(transform, Transform):
                samples = _together(transform, samples, numbers[:, self._columns[stream]])
            else:
                samples = self._one_by_one(stream, samples, pass_, positions)
        return samples

    def _numbers(self, pass_: int, positions: Positions) -> Uniforms:
        """The uniform numbers of all transforms, side by side: one call costs what one for each would."""
        if not self._draws:
            return np.empty((len(positions), 0))
        return uniforms(self.seed, pass_, positions, 0, self._draws)

    def _one_by_one(self, stream: int, samples: list[Any], pass_: int, positions: Positions) -> list[Any]:
        transform, done = self.transforms[stream], list[Any]()
        with foreign() as reseed:
            for position, sample in zip(positions.tolist(), samples, strict=True):
                reseed(derive(self.seed, pass_, position, stream))
                try:
                    done.append(transform(sample))
                except Exception as error:
                    raise SampleError(len(done), _name(transform), error) from error
        return done


def _together(transform: Transform, samples: list[Any], numbers: Uniforms) -> list[Tensor]:
    """One call for samples of one shape and type, else one for each: the results are the same."""
    tensors, done = [as_tensor(sample) for sample in samples], list[Tensor]()
    try:
        if len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1:
            return list(transform(torch.stack(tensors), numbers).unbind())
        for i, tensor in enumerate(tensors):
            done.append(transform(tensor[None].clone(), numbers[i : i + 1])[0])
        return done
    except Exception as error:
        raise SampleError(len(done), _name(transform), error) from error


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
