"""Setting parts of a data set aside: seeded, disjoint, optionally with equal shares of each class."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from utils.seed import derive


def split_indices(
    size: int, shares: Mapping[str, float | int], seed: int, labels: Tensor | None = None
) -> dict[str, Tensor]:
    """Disjoint parts of 0 ... size - 1 by name, and what is left as `train`: int64, ascending.

    A share below 1 is a fraction of `size` (at least one sample), else a count. With `labels` (int64, (size,)) each
    part gets every class's samples in proportion, to within one. ValueError if nothing is left.
    """
    order = torch.randperm(size, generator=torch.Generator().manual_seed(derive(seed)))
    if labels is not None:
        order = order[_evenly_mixed(labels[order])]
    parts, taken = {}, 0
    for name, share in shares.items():
        count = max(1, round(share * size)) if isinstance(share, float) else share
        parts[name] = order[taken : taken + count].sort().values
        taken += count
    if taken >= size:
        raise ValueError(f"{taken} of {size} samples are set aside, which leaves none to train on")
    return {"train": order[taken:].sort().values, **parts}


def _evenly_mixed(labels: Tensor) -> Tensor:
    """An order in which every stretch has each class in proportion: sorted by a sample's rank within its class."""
    by_class = labels.argsort(stable=True)
    counts = torch.unique(labels, return_counts=True)[1]
    quantiles = torch.cat([(torch.arange(int(n), dtype=torch.float64) + 0.5) / n for n in counts])
    rank = torch.empty_like(quantiles)
    rank[by_class] = quantiles
    return rank.argsort(stable=True)
