"""Samplers of the project's own; torch's go by their names."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from base.registry import SAMPLERS


@SAMPLERS.register
class ClassBalancedSampler(Sampler[int]):
    """Draws `num_samples` (default: as many as there are) with replacement, every class with the same probability and
    within it every sample. `targets`, the class numbers, are those of the training data.

    A sample that comes again is augmented anew. Loss and accuracy in training are then those of balanced classes.
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
