"""The order of samples and batches, as functions of (seed, pass)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor
from torch.utils.data import Sampler

from base.errors import DataError
from base.registry import SAMPLERS
from utils.seed import fold_in, isolated_rng

CPU = torch.device("cpu")


class Order(Protocol):
    """The order of a pass, calculated anew at each call."""

    size: int

    def __call__(self, pass_: int) -> Tensor:
        """int64 indices (size,)"""


class Ordered:
    """0, 1, ..., size - 1, or with a seed a permutation of them for each pass."""

    def __init__(self, size: int, seed: int | None = None) -> None:
        self.size, self.seed = size, seed

    def __call__(self, pass_: int) -> Tensor:
        if self.seed is None:
            return torch.arange(self.size)
        return torch.randperm(self.size, generator=torch.Generator().manual_seed(fold_in(self.seed, pass_)))


class Sampled:
    """What a sampler yields: indices below `limit`. The sampler is made for each pass, with seeded generators, so that
    it has no history."""

    def __init__(self, make: Callable[[], Iterable[int]], limit: int, seed: int) -> None:
        self.make, self.limit, self.seed = make, limit, seed
        self.size = len(self(0))

    def __call__(self, pass_: int) -> Tensor:
        with isolated_rng(fold_in(self.seed, pass_)):
            return _indices(self.make(), self.limit)


def _indices(drawn: Iterable[int], limit: int) -> Tensor:
    indices = torch.tensor([int(index) for index in drawn], dtype=torch.int64)
    wrong = indices[(indices < 0) | (indices >= limit)]
    if len(wrong):
        raise DataError(f"the sampler gives the index {wrong[0]}; the training data has indices from 0 to {limit - 1}")
    return indices


class BatchOrder(Protocol):
    """The batches of a pass over a dataset, or over a part of it."""

    size: int
    """Samples in a pass."""
    batch_size: int

    def __len__(self) -> int:
        """Batches in a pass."""

    def batches(self, pass_: int, start: int, device: torch.device = CPU) -> Iterator[tuple[int, Tensor]]:
        """From batch `start` on, the position of each batch's first sample in the pass, and its int64 indices: these
        are copied to `device` once for the whole pass."""


class SequentialBatches:
    """Batches of `batch_size` along an order. The last one is shorter or, with `drop_last`, dropped.

    `members` (int64) are the indices in the whole dataset, if the order is that of a part.
    """

    def __init__(self, order: Order, batch_size: int, drop_last: bool = False, members: Tensor | None = None) -> None:
        self.order, self.batch_size, self.members = order, batch_size, members
        self.size = order.size - order.size % batch_size if drop_last else order.size

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int, start: int, device: torch.device = CPU) -> Iterator[tuple[int, Tensor]]:
        order = self.order(pass_)
        order = (order if self.members is None else self.members[order])[start * self.batch_size : self.size].to(device)
        firsts = range(start * self.batch_size, self.size, self.batch_size)
        batches = torch.split(order, self.batch_size)  # of nothing it is one empty batch
        yield from zip(firsts, batches, strict=False)


class SampledBatches:
    """What a batch sampler yields, made for each pass: indices below `limit`, as many batches as in the first pass.

    `members` is as in `SequentialBatches`.
    """

    def __init__(
        self,
        make: Callable[[], Iterable[Iterable[int]]],
        limit: int,
        batch_size: int,
        seed: int,
        members: Tensor | None = None,
    ) -> None:
        self.make, self.limit, self.batch_size, self.seed, self.members = make, limit, batch_size, seed, members
        first_pass = self._draw(0)
        self.size, self._len = sum(map(len, first_pass)), len(first_pass)

    def __len__(self) -> int:
        return self._len

    def batches(self, pass_: int, start: int, device: torch.device = CPU) -> Iterator[tuple[int, Tensor]]:
        drawn = self._draw(pass_)
        sizes = [len(batch) for batch in drawn]
        if not drawn:
            return iter(())
        order = torch.cat(drawn)
        batches = torch.split((order if self.members is None else self.members[order]).to(device), sizes)
        return itertools.islice(zip(itertools.accumulate(sizes, initial=0), batches, strict=False), start, None)

    def _draw(self, pass_: int) -> list[Tensor]:
        with isolated_rng(fold_in(self.seed, pass_)):
            return [_indices(batch, self.limit) for batch in self.make()]


@SAMPLERS.register
class ClassBalancedSampler(Sampler[int]):
    """Draws `num_samples` (default: as many as there are) with replacement, every class with the same probability and
    within it every sample. `targets`, the class numbers, are those of the training data.

    A sample that is drawn again is augmented anew. Training loss and accuracy are then those of balanced classes.
    """

    def __init__(self, targets: Tensor, num_samples: int | None = None) -> None:
        if num_samples is not None and num_samples < 1:
            raise ValueError(f"num_samples must be 1 or more, found {num_samples}")
        self.num_samples = num_samples or len(targets)
        self._by_class = targets.argsort(stable=True)
        self._counts = torch.unique(targets, return_counts=True)[1]

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        classes = torch.randint(len(self._counts), (self.num_samples,))
        within = torch.rand(self.num_samples, dtype=torch.float64) * self._counts[classes]
        begins = self._counts.cumsum(0) - self._counts
        return iter(self._by_class[begins[classes] + within.long()].tolist())
