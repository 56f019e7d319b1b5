"""Batches and outputs, whatever they are made of: counting their samples, changing their parts."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, MutableMapping
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


def with_parts(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a tuple, named tuple, list, mapping or dataclass, of the same kind, each part `change`d. Any other
    value is returned itself."""
    if isinstance(value, Mapping):
        parts = {key: change(part) for key, part in value.items()}
        if type(value) is dict or not isinstance(value, MutableMapping):
            return parts
        rebuilt = copy.copy(value)  # by its constructor a defaultdict, for one, would not be had back
        for key, part in parts.items():  # some refuse `update`
            rebuilt[key] = part
        return rebuilt
    if isinstance(value, tuple):
        items = [change(part) for part in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, list):
        listed = copy.copy(value)
        listed[:] = [change(part) for part in value]
        return listed
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        instance = copy.copy(value)
        for field in dataclasses.fields(value):
            if hasattr(value, field.name):
                object.__setattr__(instance, field.name, change(getattr(value, field.name)))  # frozen ones, too
        return instance
    return value


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
