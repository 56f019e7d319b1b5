"""The input, target and other parts of a batch or sample: finding, counting, selecting, replacing and moving them."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

Key = str | int | None
Role = Literal["input", "target"]
ROLES: tuple[Role, Role] = ("input", "target")


class UnclearBatch(ValueError):
    """Nothing tells which part of a batch is the input and which the target."""


@dataclasses.dataclass(frozen=True)
class SampleKeys:
    """Where a sample, or a batch of samples, holds its input and its target (`data.keys`).

    In a mapping these are the named entries. In a tuple or list they are the first and second elements, or those at the
    given indices. Anything else is the input itself.
    """

    input: Key = None
    target: Key = None

    def key_of(self, role: Role, sample: Any) -> Key:
        """The key or index of the input or target; None if the sample is the input. ValueError if it has none."""
        key = self.input if role == "input" else self.target
        if isinstance(sample, Mapping):
            if key not in sample:
                keys = ", ".join(map(str, sample))
                raise ValueError(f"data.keys.{role}: expected one of the sample's keys ({keys}), found {key or 'none'}")
            return key
        if isinstance(sample, tuple | list):
            index = ("input", "target").index(role) if key is None else key
            if not isinstance(index, int) or not -len(sample) <= index < len(sample):
                size = len(sample)
                raise ValueError(f"data.keys.{role}: expected a number below {size}, the sample's size, found {index}")
            return index
        if role == "target":
            raise ValueError(f"a sample has no target: it is a single {type(sample).__name__}")
        return None

    def part(self, role: Role, sample: Any) -> Any:
        """The input or the target."""
        key = self.key_of(role, sample)
        return sample if key is None else sample[key]

    def unpack(self, batch: Any, whole_target: bool = False) -> tuple[Any, Any]:
        """(input, target) of a batch, for a trainer. With `whole_target`, an unnamed target is the whole batch.

        UnclearBatch, which says what to write, if the batch is ambiguous: of three parts none is taken for the target.
        """
        names = {"input": self.input, "target": self.target}
        if whole_target and self.target is None:
            del names["target"]
        if isinstance(batch, Mapping):
            if missing := [role for role, name in names.items() if name not in batch]:
                there_is, keys = ", ".join(map(str, batch)), ", ".join(f"{role}: ..." for role in missing)
                which = f"say which is {' and '.join(missing)} with data.keys: {{{keys}}}, or replace Trainer.unpack"
                raise UnclearBatch(f"a batch is a dict with the keys {there_is}: {which}")
        elif not isinstance(batch, tuple | list) or len(batch) < 2:
            raise UnclearBatch(f"a batch is a {type(batch).__name__}, not (input, target): replace Trainer.unpack")
        elif len(batch) > 2 and names.get("target", 0) is None:
            which = "say which is input and target with data.keys: {input: 0, target: 1}, or replace Trainer.unpack"
            raise UnclearBatch(f"a batch has {len(batch)} parts, and any may be the target: {which}")
        return self.part("input", batch), self.part("target", batch) if "target" in names else batch


def with_part(sample: Any, key: Any, value: Any) -> Any:
    """A copy of the sample with `value` at `key`. A mapping becomes a dict."""
    if key is None:
        return value
    if isinstance(sample, Mapping):
        return {**sample, key: value}
    parts = list(sample)
    parts[key] = value
    if isinstance(sample, tuple):
        return type(sample)(*parts) if hasattr(sample, "_fields") else tuple(parts)
    return parts


def in_single_precision(batch: Any, places: SampleKeys) -> tuple[Any, list[Role]]:
    """The batch, or tensors of a dataset, with float64 in input and target as float32; and which of them had float64.
    All else is left as it is: the rest may hold times or sums that need their digits."""
    changed: list[Role] = []
    for role in ROLES:
        try:
            key = places.key_of(role, batch)
        except ValueError:
            continue
        part = batch if key is None else batch[key]
        if _holds_float64(part):
            batch = with_part(batch, key, _as_float32(part))
            changed.append(role)
    return batch, changed


def _holds_float64(value: Any) -> bool:
    return value.dtype == torch.float64 if isinstance(value, Tensor) else any(map(_holds_float64, parts_of(value)))


def _as_float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.float64 else value
    return with_parts(value, _as_float32)


def rows_of(tensors: Sequence[Tensor], indices: Tensor) -> list[Tensor]:
    """Copies the rows at `indices` (int64, on the tensors' device): a batch of data that is held as tensors."""
    return [tensor.index_select(0, indices) for tensor in tensors]


def size_of(batch: Any) -> int:
    """The number of samples in a batch: a tensor, or tensors in tuples, lists, mappings and dataclasses, nested or not.

    A tensor among its parts decides. Without a tensor, the batch may be a list of samples, or contain lists with one
    entry per sample, such as images of different sizes. ValueError if the size cannot be determined.
    """
    if isinstance(batch, tuple | list) and len(batch) == 2:  # a shortcut for the usual batch
        first, second = batch
        if isinstance(first, Tensor) and isinstance(second, Tensor):
            shape, other = first.shape, second.shape  # `len` of a tensor takes four times as long
            if shape and other and shape[0] == other[0]:
                return shape[0]
    size = _size_or_none(batch)
    if size is None:
        found = f"found {type(batch).__name__}; expected a tensor, or tensors or lists in it"
        raise ValueError(f"cannot count the samples of a batch: {found}")
    return size


def _size_or_none(value: Any) -> int | None:
    """The number of samples; None for a number, a string, or anything else that does not show the batch size."""
    if isinstance(value, Tensor | np.ndarray):
        return len(value) if value.ndim else None
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes[0])
    parts = parts_of(value)
    tensors = [part for part in parts if isinstance(part, Tensor | np.ndarray | PackedSequence)]
    tensor_sizes = [size for size in map(_size_or_none, tensors) if size is not None]
    if _is_sequence(value) and (_are_samples(value) or (len(tensors) == len(parts) and _are_rows(tensors))):
        return len(value)
    if tensor_sizes:
        return tensor_sizes[0]
    if lists := [part for part in parts if _is_sequence(part) and len(part)]:
        entries = [entry for part in lists for entry in part]
        columns = {_size_or_none(entry) if isinstance(entry, Tensor) else None for entry in entries}
        mixed = len({isinstance(entry, Tensor) for entry in lists[0]}) == 2
        by_column = isinstance(lists[0], list) and (mixed or (len(columns) == 1 and columns != {None}))
        return _size_or_none(lists[0]) if by_column else len(lists[0])
    sizes = (_size_or_none(part) for part in parts)
    inner = next((size for size in sizes if size is not None), None)
    return len(value) if inner is None and _is_sequence(value) and len(value) else inner


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list) or (isinstance(value, tuple) and not hasattr(value, "_fields"))


def _are_samples(parts: Any) -> bool:
    """Whether the parts are samples: dicts with the same keys, pairs in a list, or tensors each with one other value,
    such as a label."""
    if not parts:
        return False
    if all(isinstance(part, Mapping) for part in parts):
        return len({frozenset(part) for part in parts}) == 1
    if not all(_is_sequence(part) for part in parts):
        return False
    if isinstance(parts, list) and all(isinstance(part, tuple) for part in parts):
        return True
    return all(len({_size_or_none(entry) is None for entry in part if not parts_of(entry)}) == 2 for part in parts)


def _are_rows(tensors: list[Any]) -> bool:
    """Whether the tensors are sequences or images of different sizes, rather than input and target."""
    kinds = {(tensor.dtype, tensor.ndim) if isinstance(tensor, Tensor) else None for tensor in tensors}
    lengths = {_size_or_none(tensor) for tensor in tensors}
    return len(kinds) == 1 and kinds != {None} and len(lengths) > 1 and None not in lengths


def parts_of(value: Any) -> Collection[Any]:
    """The parts of a tuple, list, mapping or dataclass; empty for any other value."""
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, tuple | list):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    return ()


def to_device(batch: Any, device: torch.device, non_blocking: bool = False) -> Any:
    """`batch` with every tensor in it moved to `device`.

    Tuples, named tuples, lists, mappings and dataclasses are rebuilt with the same type, at any depth. Objects with a
    method `to`, such as packed sequences, are moved with it. Any other value is returned unchanged.
    """
    if isinstance(batch, Tensor):
        return moved(batch, device, non_blocking)
    if callable(getattr(batch, "to", None)):
        return batch.to(device, non_blocking=non_blocking and device.type != "mps")
    return with_parts(batch, lambda part: to_device(part, device, non_blocking))


def moved(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
    """The tensor on `device`. MPS has no float64, so such a tensor becomes float32 there.

    MPS has no pinned memory either. Copies to it are always synchronous, since the source might be freed too soon.
    """
    if device.type == "mps":
        return (tensor.float() if tensor.dtype == torch.float64 else tensor).to(device)
    return tensor.to(device, non_blocking=non_blocking)


def from_host(values: NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    """The values as a tensor on `device`. On CUDA the copy is asynchronous, and torch keeps its pinned source alive."""
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    if device.type == "cpu":
        return tensor
    return moved(tensor.pin_memory() if device.type == "cuda" else tensor, device, non_blocking=True)


def with_parts(value: Any, change: Callable[[Any], Any]) -> Any:
    """A copy of a tuple, named tuple, list, mapping or dataclass, of the same type, with `change` applied to each part.
    Any other value is returned unchanged."""
    if isinstance(value, Mapping):
        parts = {key: change(part) for key, part in value.items()}
        if type(value) is dict or not isinstance(value, MutableMapping):
            return parts
        rebuilt = copy.copy(value)  # calling the constructor would not work for a defaultdict, for example
        for key, part in parts.items():  # some mappings have no `update`
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
                object.__setattr__(instance, field.name, change(getattr(value, field.name)))  # it may be frozen
        return instance
    return value


def sliced(batch: Any, rows: slice, size: int) -> Any:
    """The batch with these rows of all its tensors that have `size` of them."""
    if isinstance(batch, Tensor):
        return batch[rows] if batch.dim() and len(batch) == size else batch
    return with_parts(batch, lambda part: sliced(part, rows, size))
