"""Values of attributes in the form in which a save holds them.

Plain values and tensors stay as they are; all else is a dict of one entry that says what it is: `{"list": [...]}`,
`{"array": tensor}`, `{"object": "trainer.balance"}`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from base.checkpoint.expected import count, described, need

LARGE = 10_000
"""Entries of a list, or a hundredth of the bytes of an array, from which on it is data."""
PLAIN = (type(None), bool, int, float, complex, str)
_SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
GENERATORS = (torch.Generator, np.random.Generator, np.random.BitGenerator, np.random.RandomState, random.Random)


class NotKept(ValueError):
    """A value of a kind that no save can hold; the text says where and which."""


class Large:
    """Stands for data that was there when its owner was made: it is looked at by identity, length and version."""

    def __init__(self, value: Any) -> None:
        self.value, self._form = value, (len(value), getattr(value, "_version", 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Large) and self.value is other.value and self._form == other._form

    __hash__ = None  # type: ignore[assignment]


class Values:
    """`objects` are the components by path; `path_of(value, slot)` is the path of one, None for anything else."""

    def __init__(self, objects: Mapping[str, Any], path_of: Callable[[Any, str], str | None]) -> None:
        self.objects, self._path_of = objects, path_of

    def encoded(self, value: Any, place: str, large: bool, within: tuple[int, ...] = ()) -> Any:
        """NotKept if it cannot be kept. Unless `large`, data stands for itself as `Large`."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if (path := self._path_of(value, place)) is not None:
            return {"object": path}
        if id(value) in within:
            raise NotKept(f"{place} (it contains itself)")
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return self._numbers(value, place, large)
        if is_generator(value):
            return {"generator": _generator_state(value)}
        if isinstance(value, list | tuple | set | frozenset | deque | dict):
            if len(value) > LARGE and not large:
                return Large(value)
            return self._items(value, place, large, (*within, id(value)))
        raise NotKept(f"{place} ({kind.__name__})")

    def _numbers(self, value: Any, place: str, large: bool) -> Any:
        if not large and value.nbytes > 100 * LARGE and value.ndim:
            return Large(value)
        if isinstance(value, Tensor):
            if type(value) not in (Tensor, torch.nn.Parameter) or value.layout is not torch.strided or value.is_meta:
                raise NotKept(f"{place} ({described(value)})")
            value = value.detach()
            return value if value.device.type == "cpu" else {"on device": value}
        if value.dtype.kind not in "biufc" or value.dtype.itemsize > 16 or value.dtype == np.longdouble:
            raise NotKept(f"{place} ({value.dtype} array)")
        return {"array": torch.from_numpy(np.array(value))}

    def _items(self, value: Any, place: str, large: bool, within: tuple[int, ...]) -> Any:
        def one(key: Any, item: Any) -> Any:
            return self.encoded(item, f"{place}.{key}", large, within)

        if isinstance(value, dict):
            name = next((n for n, kind in _MAPPINGS.items() if type(value) is kind), "dict")
            if not all(type(key) in (str, int, bool, float, type(None)) for key in value):
                pairs = [[one(i, key), one(key, item)] for i, (key, item) in enumerate(value.items())]
                return {"pairs": pairs}
            return {name: {key: one(key, item) for key, item in value.items()}}
        if isinstance(value, deque):
            return {"deque": [value.maxlen, [one(i, item) for i, item in enumerate(value)]]}
        if isinstance(value, tuple) and type(value) is not tuple:
            raise NotKept(f"{place} ({type(value).__name__})")
        items = sorted(value, key=repr) if isinstance(value, set | frozenset) else value
        name = next(n for n, kind in _SEQUENCES.items() if isinstance(value, kind))
        return {name: [one(i, item) for i, item in enumerate(items)]}

    def decoded(self, found: Any, there: Any, place: str) -> Any:
        """The value, put into the list, dict, tensor or generator that is there if it is of the same form."""
        if isinstance(found, Tensor):
            return self._tensor(found, there)
        if not isinstance(found, Mapping):
            return found
        ((kind, value),) = found.items()
        if kind == "object":
            return self.objects[value]
        if kind == "on device":
            return self._tensor(value if isinstance(there, Tensor) else value.to(self.device()), there)
        if kind == "array":
            array = value.numpy()
            return array if array.ndim else array[()]
        if kind == "generator":
            return _with_state(there, value)
        if kind in _MAPPINGS or kind == "pairs":
            pairs = value.items() if kind != "pairs" else ((self.decoded(k, None, place), v) for k, v in value)
            old = there if isinstance(there, dict) else {}
            new = {key: self.decoded(item, old.get(key), place) for key, item in pairs}
            return filled(there, new) if isinstance(there, dict) else _MAPPINGS.get(kind, dict)(new)
        length, items = value if kind == "deque" else (None, value)
        before = list(there) if isinstance(there, list | tuple | deque) else []
        before += [None] * (len(items) - len(before))
        new_items = [self.decoded(item, old, place) for item, old in zip(items, before, strict=False)]
        if isinstance(there, list | set | deque) and (kind != "deque" or there.maxlen == length):  # type: ignore[union-attr]
            return filled(there, new_items)
        return deque(new_items, length) if kind == "deque" else _SEQUENCES[kind](new_items)

    def device(self) -> torch.device:
        tensors = (one for one in self.objects.values() if isinstance(one, Tensor))
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    @staticmethod
    def _tensor(found: Tensor, there: Any) -> Tensor:
        if not isinstance(there, Tensor):
            return found
        if isinstance(there, torch.nn.Parameter) and there.shape == found.shape and there.dtype == found.dtype:
            with torch.no_grad():
                return there.copy_(found)
        return found.to(there.device)

    def check(self, there: Any, found: Any, key: str) -> None:
        """Unfit unless `found` is of a form that `encoded` gives, and may take the place of what is there: texts stay
        texts, lists lists and dicts dicts; numbers, tensors and None may take each other's places."""
        if not isinstance(found, Mapping):
            need(type(found) in PLAIN or isinstance(found, Tensor), key, found, "a value as a save holds it")
            texts = isinstance(there, str) or isinstance(found, str)
            right = None in (there if type(there) in PLAIN else 0, found if type(found) in PLAIN else 0)
            right = right or (isinstance(there, str) and isinstance(found, str))
            right = right or not (texts or isinstance(there, dict | list | tuple | set | deque))
            need(right or there is None, key, found, described(there))
            return
        right = len(found) == 1 and next(iter(found)) in _CHECKS
        need(right, key, found, f"a dict of one of {', '.join(_CHECKS)}")
        ((kind, value),) = found.items()
        place = f"{key}[{kind!r}]"
        types, base = _CHECKS[kind]
        need(isinstance(value, types), place, value, f"a {' or '.join(t.__name__ for t in types)}")
        need(there is None or base is None or isinstance(there, base), key, found, described(there))
        self._check_inner(kind, value, there, place)

    def _check_inner(self, kind: str, value: Any, there: Any, place: str) -> None:
        if kind == "object":
            need(value in self.objects, place, value, "the path of a component of this run")
        elif kind == "generator":
            _check_generator(there, value, place)
        elif kind in _MAPPINGS:
            old = there if isinstance(there, dict) else {}
            for name, item in value.items():
                self.check(old.get(name), item, f"{place}[{name!r}]")
        elif kind == "deque":
            right = len(value) == 2 and isinstance(value[1], list) and (value[0] is None or type(value[0]) is int)
            need(right and (value[0] or 0) >= 0, place, value, "a length and a list")
            self._check_inner("list", value[1], None, place)
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if kind == "pairs":
                    need(isinstance(item, list) and len(item) == 2, place, item, "a key and a value")
                    self._check_inner("list", item, None, place)
                else:
                    self.check(None, item, f"{place}[{number}]")


_CHECKS: dict[str, tuple[tuple[type, ...], Any]] = {
    "object": ((str,), None),
    "absent": ((type(None),), None),
    "array": ((Tensor,), (np.ndarray, np.generic, int, float)),
    "on device": ((Tensor,), (Tensor, int, float)),
    "generator": ((dict,), GENERATORS),
    "deque": ((list,), deque),
    "pairs": ((list,), dict),
    **{name: ((list,), kind) for name, kind in _SEQUENCES.items()},
    **dict.fromkeys(_MAPPINGS, ((dict,), dict)),
}
"""By kind: the types of what it holds, and of what it may take the place of."""


def is_generator(value: Any) -> bool:
    return isinstance(value, GENERATORS)


def filled(there: Any, new: Any) -> Any:
    """The same list, set, deque or dict with other content: others may hold it, too."""
    there.clear()
    (there.extend if hasattr(there, "extend") else there.update)(new)
    return there


def _generator_state(value: Any) -> dict[str, Any]:
    if isinstance(value, torch.Generator):
        return {"torch": value.get_state(), "device": value.device.type}
    if isinstance(value, random.Random):
        version, words, gauss = value.getstate()
        return {"python": [version, torch.tensor(words), gauss]}
    if isinstance(value, np.random.RandomState):
        return {"numpy": _tensors(value.get_state(legacy=False))}
    return {"numpy": _tensors(getattr(value, "bit_generator", value).state)}


def _tensors(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _tensors(value) for name, value in state.items()}
    if isinstance(state, np.ndarray):  # torch has few operations on uint64, and a save may hold it
        return torch.from_numpy(state.copy())
    return state.item() if isinstance(state, np.generic) else state


def _arrays(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _arrays(value) for name, value in state.items()}
    return state.numpy() if isinstance(state, Tensor) else state


def _with_state(there: Any, state: Mapping[str, Any]) -> Any:
    """The generator that is there, or a new one, in this state."""
    if "torch" in state:
        there = there if isinstance(there, torch.Generator) else torch.Generator(state["device"])
        there.set_state(state["torch"])
    elif "python" in state:
        version, words, gauss = state["python"]
        there = there if isinstance(there, random.Random) else random.Random()
        there.setstate((version, tuple(words.tolist()), gauss))
    else:
        numbers = _arrays(state["numpy"])
        if not is_generator(there):
            there = np.random.Generator(getattr(np.random, numbers["bit_generator"])())
        if isinstance(there, np.random.RandomState):
            there.set_state(numbers)
        else:
            getattr(there, "bit_generator", there).state = numbers
    return there


_NUMPYS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")


def _check_generator(there: Any, state: Mapping[str, Any], key: str) -> None:
    """NumPy writes a state into the generator as it is, and reads at a position in it unasked."""
    pattern = _generator_state(there) if is_generator(there) else None
    if pattern is None:
        name = state.get("numpy", {}).get("bit_generator") if isinstance(state.get("numpy"), dict) else None
        fresh: Any = np.random.Generator(getattr(np.random, name)()) if name in _NUMPYS else None
        fresh = torch.Generator() if "torch" in state else random.Random() if "python" in state else fresh
        need(fresh is not None, key, state, "the state of a generator")
        pattern = _generator_state(fresh)
    _same_form(pattern, state, key)


def _same_form(there: Any, found: Any, key: str) -> None:
    right = type(found) is type(there)
    if isinstance(there, Mapping):
        need(right and found.keys() == there.keys(), key, found, f"a dict of {', '.join(there)}")
        for name, value in there.items():
            _same_form(value, found[name], f"{key}[{name!r}]")
        for name in ("pos", "buffer_pos", "has_gauss", "has_uint32"):
            if name in there:
                most = {"pos": len(there.get("key", ())), "buffer_pos": len(there.get("buffer", ()))}.get(name, 1)
                count(found[name], f"{key}[{name!r}]", high=most)
    elif isinstance(there, list):
        need(right and len(found) == len(there), key, found, described(there))
        for number, value in enumerate(there):
            _same_form(value, found[number], f"{key}[{number}]")
    elif isinstance(there, Tensor):
        right = isinstance(found, Tensor) and (found.dtype, found.shape) == (there.dtype, there.shape)
        need(right, key, found, described(there))
    elif isinstance(there, str):
        need(found == there, key, found, repr(there))
    elif there is None or isinstance(there, float):
        need(found is None or type(found) is float, key, found, "None or a number")
    else:
        need(type(found) is int and 0 <= found < 1 << 128, key, found, "a whole number from 0")


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


class Frozen:
    """The weights of a module that does not learn, and a hash of them."""

    def __init__(self, module: nn.Module) -> None:
        self.weights = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
        digest = hashlib.sha256()
        for name, value in self.weights.items():
            digest.update(f"{name} {value.dtype} {[*value.shape]}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        self.digest = digest.hexdigest()


def is_frozen(module: nn.Module) -> bool:
    parameters = [*module.parameters()]
    return bool(parameters) and not any(one.requires_grad or is_lazy(one) for one in parameters)
