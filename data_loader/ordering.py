"""Which samples a pass visits, in which order and in which batches: functions of (seed, pass) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor

from base.errors import DataError
from utils.seed import derive, foreign


class Order(Protocol):
    """The order of a pass, worked out anew whenever it is asked for."""

    size: int

    def __call__(self, pass_: int) -> Tensor:
        """int64 indices (size,)"""


class InOrder:
    """0, 1, ..., size - 1."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, pass_: int) -> Tensor:
        return torch.arange(self.size)


class Shuffled:
    """A permutation of 0 ... size - 1."""

    def __init__(self, size: int, seed: int) -> None:
        self.size, self.seed = size, seed

    def __call__(self, pass_: int) -> Tensor:
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(derive(self.seed, pass_)))


class Sampled:
    """What a sampler yields: indices below `limit`. It is made for each pass, under seeded generators, so that it has
    no history."""

    def __init__(self, make: Callable[[], Iterable[int]], limit: int, seed: int) -> None:
        self.make, self.limit, self.seed = make, limit, seed
        self.size = len(self(0))

    def __call__(self, pass_: int) -> Tensor:
        with foreign(derive(self.seed, pass_)):
            return _indices(self.make(), self.limit)


def _indices(drawn: Iterable[int], limit: int) -> Tensor:
    indices = torch.tensor([int(index) for index in drawn], dtype=torch.int64)
    wrong = indices[(indices < 0) | (indices >= limit)]
    if len(wrong):
        raise DataError(f"the sampler gives the index {wrong[0]}; the training data has indices from 0 to {limit - 1}")
    return indices


class Batching(Protocol):
    """The batches of a pass."""

    size: int
    """Samples in a pass."""
    batch_size: int

    def __len__(self) -> int:
        """Batches in a pass."""

    def batches(self, pass_: int, start: int) -> Iterator[tuple[int, Tensor]]:
        """From batch `start` on, the position of each batch's first sample in the pass, and its int64 indices."""


class Consecutive:
    """Batches of `batch_size` along an order, the last one shorter or, with `drop_last`, left out."""

    def __init__(self, order: Order, batch_size: int, drop_last: bool = False) -> None:
        self.order, self.batch_size = order, batch_size
        self.size = order.size - order.size % batch_size if drop_last else order.size

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int, start: int) -> Iterator[tuple[int, Tensor]]:
        order = self.order(pass_)
        for first in range(start * self.batch_size, self.size, self.batch_size):
            yield first, order[first : first + self.batch_size]


class SampledBatches:
    """What a batch sampler yields, made for each pass: indices below `limit`, as many batches as in the first pass."""

    def __init__(self, make: Callable[[], Iterable[Iterable[int]]], limit: int, batch_size: int, seed: int) -> None:
        self.make, self.limit, self.batch_size, self.seed = make, limit, batch_size, seed
        first_pass = self._draw(0)
        self.size, self._len = sum(map(len, first_pass)), len(first_pass)

    def __len__(self) -> int:
        return self._len

    def batches(self, pass_: int, start: int) -> Iterator[tuple[int, Tensor]]:
        first = 0
        for number, indices in enumerate(self._draw(pass_)):
            if number >= start:
                yield first, indices
            first += len(indices)

    def _draw(self, pass_: int) -> list[Tensor]:
        with foreign(derive(self.seed, pass_)):
            return [_indices(batch, self.limit) for batch in self.make()]


class OfPart:
    """The batches of a part of a data set, with the indices of the whole: `members` (int64) are those of the part."""

    def __init__(self, batching: Batching, members: Tensor) -> None:
        self.batching, self.members = batching, members
        self.size, self.batch_size = batching.size, batching.batch_size

    def __len__(self) -> int:
        return len(self.batching)

    def batches(self, pass_: int, start: int) -> Iterator[tuple[int, Tensor]]:
        for first, indices in self.batching.batches(pass_, start):
            yield first, self.members[indices]
