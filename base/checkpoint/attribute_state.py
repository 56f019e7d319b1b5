"""The state of objects without a `state_dict`: what of their attributes has changed.

Kept is what is not as it was when the object was made: numbers, texts, tensors, arrays, lists and dicts of them, the
objects' own objects likewise, and whatever has `state_dict` and `load_state_dict`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

DEEP = 4
"""Objects within objects."""
_ARRAY, STATE_DICT, _VARS, _ITEMS = "numpy", "state_dict", "attributes", "items"
"""Marks of values that are more than plain."""


class AttributeState:
    """`others` are saved elsewhere and left out wherever they turn up."""

    def __init__(self, owner: Any, others: Iterable[Any] = ()) -> None:
        self.owner, self._others = owner, list(others)
        self._made = self._attributes(owner)

    def state_dict(self) -> dict[str, Any]:
        now = self._attributes(self.owner)
        return {
            name: value for name, value in now.items() if name not in self._made or not same(value, self._made[name])
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        _put(self.owner, state)

    def _attributes(self, owner: Any, deep: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if isinstance(owner, nn.Module):
            found[STATE_DICT] = {name: _copied(value) for name, value in owner.state_dict().items()}
        for name, value in getattr(owner, "__dict__", {}).items():
            if (isinstance(owner, nn.Module) and name.startswith("_")) or any(value is other for other in self._others):
                continue
            kept = self._value(value, deep)
            if kept is not None:
                found[name] = kept[0]
        return found

    def _value(self, value: Any, deep: int) -> tuple[Any] | None:
        """What is kept of a value, in a tuple; None for nothing."""
        if value is None or isinstance(value, bool | int | float | str):
            return (value,)
        if isinstance(value, Tensor):
            return (_copied(value),)
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biuf":
            return ({_ARRAY: torch.from_numpy(np.array(value))},)
        if type(value) in (list, tuple, dict) and deep < DEEP:
            return self._items(value, deep)
        if isinstance(value, Dataset | DataLoader):
            return None
        if callable(getattr(value, "load_state_dict", None)) and not isinstance(value, nn.Module):
            return ({STATE_DICT: _copied(value.state_dict())},)
        if deep < DEEP and (isinstance(value, nn.Module) or type(value).__module__.split(".")[0] in USERS):
            return ({_VARS: self._attributes(value, deep + 1)},)
        return None

    def _items(self, value: Any, deep: int) -> tuple[Any] | None:
        """A list or dict as it is, or, where it holds objects, what is kept of each."""
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        kept = {key: self._value(item, deep + 1) for key, item in pairs}
        if any(
            one and isinstance(one[0], Mapping) and {STATE_DICT, _VARS, _ITEMS} & set(one[0]) for one in kept.values()
        ):
            return ({_ITEMS: {key: one[0] for key, one in kept.items() if one}},)
        if None in kept.values():
            return None
        plain = {key: one[0] for key, one in kept.items() if one}
        return (plain if isinstance(value, dict) else type(value)(plain.values()),)


USERS = {"model", "trainer", "data_loader", "logger", "utils", "base", "__main__"}
"""Packages whose objects are looked into; those of libraries keep their own counsel."""


def _put(owner: Any, state: Mapping[str, Any]) -> None:
    for name, kept in state.items():
        if name == STATE_DICT:
            owner.load_state_dict(kept)
        else:
            setattr(owner, name, _restored(getattr(owner, name, None), kept))


def _restored(there: Any, kept: Any) -> Any:
    """What was kept, put into the object that is there, or in its place."""
    kind = next(iter(kept)) if isinstance(kept, Mapping) and len(kept) == 1 else None
    if kind == STATE_DICT:
        there.load_state_dict(kept[STATE_DICT])
    elif kind == _VARS:
        _put(there, kept[_VARS])
    elif kind == _ITEMS:
        for key, item in kept[_ITEMS].items():
            value = _restored(there[key], item)
            if value is not there[key]:
                there[key] = value
    else:
        value = _back(kept)
        return value.to(there.device) if isinstance(there, Tensor) and isinstance(value, Tensor) else value
    return there


def _back(kept: Any) -> Any:
    if isinstance(kept, Mapping) and set(kept) == {_ARRAY}:
        array = kept[_ARRAY].numpy()
        return array if array.ndim else array[()]
    if isinstance(kept, Mapping):
        return {key: _back(value) for key, value in kept.items()}
    return type(kept)(_back(value) for value in kept) if isinstance(kept, list | tuple) else kept


def _copied(value: Any) -> Any:
    """The same tensors, none shared with what goes on changing."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(_copied(item) for item in value) if type(value) in (list, tuple) else value


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors too."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is type(other) and isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)
