"""Values that change in training: copies, comparisons, the states of generators, the hashes of frozen weights."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (type(None), bool, int, float, complex, str)
GENERATORS = (torch.Generator, np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)


class Frozen:
    """The weights of a module that does not learn, and a hash of them."""

    def __init__(self, module: nn.Module) -> None:
        self.weights = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        digest = hashlib.sha256()
        for name, value in self.weights.items():
            digest.update(f"{name} {value.dtype} {[*value.shape]}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        self.digest = digest.hexdigest()


def copied(value: Any) -> Any:
    """The same tensors, none shared with what goes on changing."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: copied(item) for key, item in value.items()}
    return type(value)(copied(item) for item in value) if type(value) in (list, tuple) else value


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, tensors too."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return (one.dtype, one.device) == (other.dtype, other.device) and torch.equal(one, other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if type(one) is type(other) and isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def changes(now: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By path the attributes that differ from `then`; those that are gone are `{"absent": None}`."""
    found = {}
    for path, its in now.items():
        made = then[path]
        changed = {name: value for name, value in its.items() if name not in made or not same(value, made[name])}
        if changed := changed | {name: {"absent": None} for name in made if name not in its}:
            found[path] = changed
    return found


def generator_state(generator: Any) -> dict[str, Any]:
    if isinstance(generator, torch.Generator):
        return {"torch": generator.get_state(), "device": generator.device.type}
    if isinstance(generator, random.Random):
        version, words, gauss = generator.getstate()
        return {"python": [version, torch.tensor(words), gauss]}
    if isinstance(generator, np.random.RandomState):
        return {"numpy": _tensors(generator.get_state(legacy=False))}
    return {"numpy": _tensors(getattr(generator, "bit_generator", generator).state)}


def has_generator(noted: Any) -> bool:
    """Whether a value as a save holds it has a generator in it."""
    if isinstance(noted, dict):
        return "generator" in noted or any(map(has_generator, noted.values()))
    return isinstance(noted, list) and any(map(has_generator, noted))


def _tensors(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _tensors(value) for name, value in state.items()}
    if isinstance(state, np.ndarray):  # torch has few operations on uint64, and a save may hold it
        return torch.from_numpy(state.copy())
    return state.item() if isinstance(state, np.generic) else state
