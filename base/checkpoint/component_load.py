"""Reads the state of components from a save, checks it against those of the run, and puts it back.

The forms of values are those that `ComponentStates` writes.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from base.checkpoint.component_state import (
    ADDED,
    ATTRIBUTES,
    MAPPINGS,
    SEQUENCES,
    STATE_DICT,
    ComponentStates,
    keeps_itself,
)
from base.checkpoint.component_values import GENERATORS, PLAIN, generator_state
from base.checkpoint.expected import (
    count,
    hides_nothing,
    mapping,
    need,
    same_kind,
    same_names,
    same_tensor,
    similar,
)

_NUMPYS = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
_ABSENT = object()
"""Stands for an attribute that was deleted in training."""


def prepare(states: ComponentStates, saved: Any, most: int) -> None:
    """Makes the parameters and buffers that were added in training, of `most` elements each, and adds groups to
    optimizers; `load` and the weights give them values. Unfit if that cannot be."""
    for path, state in mapping(saved, "components").items():
        place = f"components[{path!r}]"
        if path in states.optimizers:
            _add_groups(states, path, same_names((ADDED,), state, place)[ADDED], place)
            continue
        for name, form in mapping(mapping(state, place).get(ADDED, {}), f"{place}['{ADDED}']").items():
            owner, key = states.objects.get(path), f"{place}['{ADDED}'][{name!r}]"
            need(isinstance(owner, nn.Module) and isinstance(name, str), key, form, "a parameter of a module")
            form = same_names(("shape", "dtype", "learns", "buffer"), form, key)
            right = isinstance(form["shape"], list) and all(type(n) is int and n >= 0 for n in form["shape"])
            right = right and math.prod(form["shape"]) <= most and isinstance(form["dtype"], torch.dtype)
            need(right and not hasattr(owner, name) and name.isidentifier(), key, form, "a shape and a dtype")
            states.add_tensors(path, {name: _make(owner, name, form)})


def _add_groups(states: ComponentStates, path: str, groups: Any, key: str) -> None:
    optimizer, made = states.optimizers[path]
    need(isinstance(groups, list), key, groups, "a list of groups")
    for names in groups[len(optimizer.param_groups) - made :]:
        parameters = [states.objects.get(name) for name in names] if isinstance(names, list) else [None]
        right = all(isinstance(parameter, nn.Parameter) for parameter in parameters)
        need(right, key, names, "the paths of parameters of this run")
        optimizer.add_param_group({"params": parameters})


def _make(owner: Any, name: str, form: Mapping[str, Any]) -> Tensor:
    device = next((tensor.device for tensor in owner.parameters()), None)
    tensor = torch.empty(form["shape"], dtype=form["dtype"], device=device)
    if form["buffer"]:
        owner.register_buffer(name, tensor)
    else:
        owner.register_parameter(name, nn.Parameter(tensor, requires_grad=bool(form["learns"])))
    made: Tensor = getattr(owner, name)
    return made


def check(states: ComponentStates, saved: Any, passed_over: bool) -> None:
    """Unfit unless each component can take its state. Where the config was changed by force, and for callbacks,
    `passed_over`, states of components that there are no more are left."""
    for path, state in mapping(saved, "components").items():
        key = f"components[{path!r}]"
        state, owner = mapping(state, key), states.objects.get(path)
        if path in states.optimizers:
            continue
        if owner is None:
            gone = passed_over or (isinstance(path, str) and path.startswith("callbacks."))
            need(gone, key, state, "a component of this run")
            continue
        same_names([part for part in (STATE_DICT, ATTRIBUTES, ADDED) if part in state], state, key)
        if STATE_DICT in state:
            _check_state_dict(states, owner, state[STATE_DICT], f"{key}['{STATE_DICT}']")
        attributes = mapping(state.get(ATTRIBUTES, {}), f"{key}['{ATTRIBUTES}']")
        hides_nothing(owner, attributes, f"{key}['{ATTRIBUTES}']")
        for name, found in attributes.items():
            place = f"{key}['{ATTRIBUTES}'][{name!r}]"
            there, value = getattr(owner, name, None), _decoded(states.objects, found, place)
            if value is not _ABSENT and not (isinstance(found, Mapping) and "object" in found):
                similar(there, value, place)


def _check_state_dict(states: ComponentStates, owner: Any, found: Any, key: str) -> None:
    need(callable(getattr(owner, "load_state_dict", None)), key, found, "nothing: it has no load_state_dict")
    if keeps_itself(owner) or not isinstance(owner, nn.Module):
        _decoded(states.objects, found, key)
        return
    there = owner.state_dict()
    for name, value in same_names(there, found, key).items():
        compare = same_tensor if isinstance(there[name], Tensor) else similar
        compare(there[name], value, f"{key}[{name!r}]")


def load(states: ComponentStates, saved: Mapping[str, Any], frozen: Mapping[str, Mapping[str, Tensor]]) -> None:
    """`check` has said that it fits."""
    for path, weights in frozen.items():
        if isinstance(owner := states.objects.get(path), nn.Module):
            if not path.startswith("models."):
                owner.load_state_dict(weights)
            states.was_frozen(path)
    for path, state in saved.items():
        owner = states.objects.get(path)
        if owner is None or path in states.optimizers:
            continue
        if STATE_DICT in state:
            its = state[STATE_DICT]
            owner.load_state_dict(_decoded(states.objects, its, path) if keeps_itself(owner) else its)
        for name, found in state.get(ATTRIBUTES, {}).items():
            value = _put(getattr(owner, name, None), _decoded(states.objects, found, f"{path}.{name}"))
            if value is _ABSENT:
                vars(owner).pop(name, None)
            elif isinstance(owner, nn.Module) and name in owner._buffers:
                owner._buffers[name] = value
            else:  # what a class does when an attribute is set was done before
                object.__setattr__(owner, name, value)


def _decoded(objects: Mapping[str, Any], found: Any, key: str) -> Any:
    """The value that a save holds in this form, new in all its parts but components. Unfit if the form is wrong."""
    if not isinstance(found, Mapping):
        need(type(found) in PLAIN or isinstance(found, Tensor), key, found, "a value as a save holds it")
        return found
    right = len(found) == 1 and next(iter(found)) in _HOLDS
    need(right, key, found, f"a dict of one of {', '.join(_HOLDS)}")
    ((kind, value),) = found.items()
    place, type_ = f"{key}[{kind!r}]", _HOLDS[kind]
    need(isinstance(value, type_), place, value, f"a {type_.__name__}")

    def each(items: list[Any]) -> list[Any]:
        return [_decoded(objects, item, f"{place}[{number}]") for number, item in enumerate(items)]

    match kind:
        case "object":
            need(value in objects, place, value, "the path of a component of this run")
            return objects[value]
        case "absent":
            return _ABSENT
        case "array":
            return value.numpy() if value.dim() else value.numpy()[()]
        case "on device":
            return value.to(next((one.device for one in objects.values() if isinstance(one, Tensor)), "cpu"))
        case "generator":
            return _generator(value, place)
        case "deque":
            right = len(value) == 2 and isinstance(value[1], list) and (value[0] is None or type(value[0]) is int)
            need(right and (value[0] or 0) >= 0, place, value, "a length and a list")
            return deque(each(value[1]), value[0])
        case "pairs":
            for pair in value:
                need(isinstance(pair, list) and len(pair) == 2, place, pair, "a key and a value")
            return dict(each(pair) for pair in value)
    if kind in MAPPINGS:
        return MAPPINGS[kind](zip(value, each([*value.values()]), strict=True))
    return SEQUENCES[kind](each(value))


_HOLDS: dict[str, type] = {
    "object": str,
    "absent": type(None),
    "array": Tensor,
    "on device": Tensor,
    "generator": dict,
    "deque": list,
    "pairs": list,
    **dict.fromkeys(SEQUENCES, list),
    **dict.fromkeys(MAPPINGS, dict),
}
"""The type of what a form holds."""


def _put(there: Any, new: Any) -> Any:
    """The value, put into the list, dict, tensor or generator that is there if it is of the same form: others may hold
    it, too."""
    if isinstance(there, Tensor) and isinstance(new, Tensor):
        if isinstance(there, nn.Parameter) and (there.shape, there.dtype) == (new.shape, new.dtype):
            with torch.no_grad():
                return there.copy_(new)
        return new.to(there.device)
    if isinstance(there, GENERATORS) and isinstance(new, GENERATORS):
        return _set(there, generator_state(new))
    if isinstance(there, dict) and isinstance(new, dict):
        return _filled(there, there.update, [(key, _put(there.get(key), value)) for key, value in new.items()])
    if isinstance(there, list | tuple | deque) and isinstance(new, list | tuple | deque):
        items = [_put(old, value) for old, value in zip_longest(islice(there, len(new)), new)]
        new = deque(items, new.maxlen) if isinstance(new, deque) else type(new)(items)
        alike = type(there) is type(new) and getattr(there, "maxlen", None) == getattr(new, "maxlen", None)
        return _filled(there, there.extend, items) if alike and not isinstance(there, tuple) else new
    return _filled(there, there.update, new) if type(there) is type(new) is set else new


def _filled(there: Any, fill: Callable[[Any], Any], items: Any) -> Any:
    there.clear()
    fill(items)
    return there


def _generator(state: dict[str, Any], key: str) -> Any:
    """A new one in this state. NumPy takes any state as it is, and reads at the position that it names."""
    if "torch" in state:
        return _set(torch.Generator(state["device"]), state)
    if "python" in state:
        same_kind(generator_state(random.Random()), state, key)
        gauss = state["python"][2]
        need(gauss is None or type(gauss) is float, f"{key}['python'][2]", gauss, "None or a number")
        return _set(random.Random(), state)
    numbers = mapping(state.get("numpy", {}), f"{key}['numpy']")
    name = numbers.get("bit_generator")
    need(name in _NUMPYS, key, state, "the state of a generator")
    bits = getattr(np.random, str(name))()
    made = np.random.RandomState(bits) if "gauss" in numbers else np.random.Generator(bits)
    pattern, place = generator_state(made)["numpy"], f"{key}['numpy']"
    same_kind(pattern, numbers, place)
    for words, position in (("key", "pos"), ("buffer", "buffer_pos")):
        for its, where in ((numbers, place), (numbers["state"], f"{place}['state']")):
            if position in its:
                most = len(its.get(words, ()))
                count(its[position], f"{where}[{position!r}]", high=most)
    return _set(made, state)


def _set(generator: Any, state: Mapping[str, Any]) -> Any:
    if "torch" in state:
        generator.set_state(state["torch"])
    elif "python" in state:
        version, words, gauss = state["python"]
        generator.setstate((version, tuple(words.tolist()), gauss))
    elif isinstance(generator, np.random.RandomState):
        generator.set_state(_arrays(state["numpy"]))
    else:
        getattr(generator, "bit_generator", generator).state = _arrays(state["numpy"])
    return generator


def _arrays(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _arrays(value) for name, value in state.items()}
    return state.numpy() if isinstance(state, Tensor) else state
