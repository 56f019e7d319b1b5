"""What a forward pass may change, and puts it back: buffers, plain attributes, generators."""

from __future__ import annotations

import random
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader, Dataset

DEEP = 4
"""Objects within objects."""
USERS = {"model", "trainer", "data_loader", "logger", "utils", "base", "__main__"}
"""Packages whose objects are looked into."""
_MODULES_OWN = frozenset(vars(nn.Module()))
"""Attributes that torch keeps in every module: parameters, buffers, layers, hooks, the mode."""
_CONTAINERS = (list, set, deque, dict, OrderedDict, defaultdict)


class ForwardState:
    """Buffers and plain attributes of models and losses as they were: counters, a hidden state, a table made at the
    first call. Calling the object puts them back.

    Of torch's own modules only the buffers are kept: their other attributes are settings. A model that made layers or
    buffers meanwhile stays as it is: its attributes go with them.
    """

    def __init__(self, models: Iterable[nn.Module], losses: Iterable[Any] = ()) -> None:
        self._kept = [(root, _members(root), _Kept(root)) for root in (*models, *losses)]

    def __call__(self) -> None:
        with torch.no_grad():
            for root, members, kept in self._kept:
                if _members(root) == members:
                    kept.put_back()


def _members(root: Any) -> list[tuple[str, int]]:
    """Layers, parameters and buffers by name and identity."""
    if not isinstance(root, nn.Module):
        return []
    registered = (
        (module._parameters, module._buffers, module._modules)  # torch's own walk makes a name for each
        for module in root.modules()
    )
    return [(name, id(value)) for kinds in registered for kind in kinds for name, value in kind.items()]


class _Kept:
    """What is reached from one object, each object once."""

    def __init__(self, root: Any) -> None:
        self._put_backs: list[Callable[[], Any]] = []
        self._seen: set[int] = set()
        if isinstance(root, nn.Module):
            self._module(root)
        else:
            self._attributes(root, 0)

    def put_back(self) -> None:
        for put_back in self._put_backs:
            put_back()

    def _module(self, root: nn.Module) -> None:
        for module in root.modules():
            for buffer in module._buffers.values():
                if buffer is not None and not is_lazy(buffer):
                    self._tensor(buffer)
            if not type(module).__module__.startswith("torch.") and not isinstance(module, LazyModuleMixin):
                self._attributes(module, 0)

    def _attributes(self, owner: Any, deep: int) -> None:
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        there = getattr(owner, "__dict__", {})
        others = _MODULES_OWN if isinstance(owner, nn.Module) else frozenset()
        before = {name: value for name, value in there.items() if name not in others}

        def put_back() -> None:
            for name in there.keys() - before.keys() - others:
                del there[name]
            there.update(before)

        self._put_backs.append(put_back)
        for value in before.values():
            self._value(value, deep)

    def _value(self, value: Any, deep: int) -> None:
        """What can be changed in its place."""
        kind = type(value)
        if value is None or kind in (bool, int, float, str) or isinstance(value, nn.Parameter | Dataset | DataLoader):
            return
        if isinstance(value, Tensor):
            self._tensor(value)
        elif isinstance(value, np.ndarray):
            array = value.copy()
            self._put_backs.append(lambda: value.__setitem__(..., array))
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._put_backs.append(lambda: value.set_state(state))
        elif isinstance(value, random.Random):
            numbers = value.getstate()
            self._put_backs.append(lambda: value.setstate(numbers))
        elif isinstance(value, np.random.Generator):
            words = value.bit_generator.state
            self._put_backs.append(lambda: setattr(value.bit_generator, "state", words))
        elif isinstance(value, nn.Module):  # in a plain list, or part of a loss that is none itself
            if id(value) not in self._seen:
                self._module(value)
        elif kind in (*_CONTAINERS, tuple) and deep < DEEP:
            self._container(value, deep)
        elif deep < DEEP and kind.__module__.split(".")[0] in USERS:
            self._attributes(value, deep + 1)

    def _tensor(self, tensor: Tensor) -> None:
        expanded = not tensor.is_contiguous() and 0 in tensor.stride()
        if not expanded and not tensor.is_inference():  # nobody can write to such tensors
            before = tensor.detach().clone()

            def put_back() -> None:
                if not torch.equal(tensor, before):  # a write, even of the same, would spoil a graph that waits
                    tensor.detach().copy_(before)

            self._put_backs.append(put_back)

    def _container(self, value: Any, deep: int) -> None:
        before = value if isinstance(value, tuple) else value.copy()

        def put_back() -> None:
            value.clear()
            (value.extend if hasattr(value, "extend") else value.update)(before)

        if not isinstance(value, tuple):
            self._put_backs.append(put_back)
        for item in before.values() if isinstance(before, Mapping) else before:
            self._value(item, deep + 1)
