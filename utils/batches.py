"""Counting the samples of a batch, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def size_of(batch: Any) -> int:
    """Samples in a batch: the length of its first tensor, or else of its first list."""
    if isinstance(batch, Tensor):
        return len(batch)
    if isinstance(batch, tuple | list) and batch:
        first = batch[0]
        if isinstance(first, Tensor):  # the usual batch; to ask whether something is a Mapping takes its time
            return len(first)
        if isinstance(batch, tuple) or isinstance(first, Mapping | tuple | list):
            return size_of(first)
    if isinstance(batch, list):
        return len(batch)
    if isinstance(batch, Mapping):
        return size_of(next(iter(batch.values())))
    raise ValueError(f"a batch holds a {type(batch).__name__} where a tensor or list was expected: cannot count it")


def bounds(tensor: Tensor) -> tuple[float, float] | None:
    """The least and the largest value; None of an empty tensor, of truth values, and of what torch knows no order of:
    complex, sparse, nested tensors, unsigned integers of more than 8 bits."""
    try:
        if tensor.dtype == torch.bool or not tensor.numel():
            return None
        low, high = tensor.detach().aminmax()
        return float(low), float(high)
    except (RuntimeError, TypeError):
        return None
