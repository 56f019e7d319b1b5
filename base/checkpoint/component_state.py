"""What the state of a component is, by path: `{"loss.loss": {...}, "trainer.balance": {...}}`.

A component that has `state_dict` and `load_state_dict` of its own is kept by them. Anything else is kept by what its
attributes hold: plain values, lists and dicts of them, tensors, NumPy arrays and generators. So is a torch.nn module,
whose `state_dict` knows parameters and buffers alone. Objects that it holds are components too, at any depth.

Of attributes only what has changed since the component was made is kept: a resumed run makes it again from its config.
"""

from __future__ import annotations

import io
import logging
import math
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.checkpoint.component_values import GENERATORS, LARGE, PLAIN, Frozen, NotKept, Values, copied, is_frozen, same
from base.checkpoint.expected import hides_nothing, mapping, need, same_names, same_tensor, similar
from base.errors import CheckpointError

STATE_DICT, ATTRIBUTES, ADDED = "state_dict", "attributes", "added"
"""The parts of a component's state: by its own methods; attributes by name; parameters made in training."""
_MODULES_OWN = frozenset(vars(nn.Module()))
_METRICS = ("metrics.", "valid_metrics.")
"""Roots whose `state_dict` is kept elsewhere, or of no use."""
_INCOMPLETE = ("torch.nn.modules.module", "base.loop.")
"""Where a `state_dict` is defined that does not know what a subclass adds."""
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, partial)
log = logging.getLogger(__name__)


class ComponentStates:
    """The components below `roots`, as they were made. `elsewhere` are objects that a save keeps in another part;
    `hidden` gives, by path, names of attributes that belong to nobody or are kept elsewhere.

    Weights of the modules in `weighted` are kept elsewhere; their other attributes are not. Of `optimizers` only the
    groups are kept that were added in training.
    """

    def __init__(
        self,
        roots: Mapping[str, Any],
        elsewhere: Iterable[Any] = (),
        hidden: Mapping[str, Iterable[str]] | None = None,
        weighted: Iterable[str] = (),
        optimizers: Mapping[str, Optimizer] | None = None,
    ) -> None:
        self.objects: dict[str, Any] = {}
        """Components by path, and the parameters and buffers of modules."""
        self.held: dict[str, Any] | None = None
        """The state to save instead of the present one: that before an evaluation which was interrupted."""
        self._hidden = {path: frozenset(names) for path, names in (hidden or {}).items()}
        self._weighted = tuple(f"{path}." for path in (*weighted, "metrics", "valid_metrics"))
        self._optimizers = {path: (one, len(one.param_groups)) for path, one in (optimizers or {}).items()}
        self._elsewhere = {id(one): one for one in elsewhere}
        self._paths: dict[int, str] = {}
        self._values = Values(self.objects, self._path_of)
        self._told: set[str] = set()
        for path, root in roots.items():
            self._visit(path, root)
        lost = [path for path, owner in self.objects.items() for path in self._iterators(path, owner)]
        if lost:
            hint = "a resumed run begins them anew; give their owners state_dict and load_state_dict"
            log.warning("checkpoints cannot keep %s: %s", ", ".join(lost), hint)
        self._frozen = {p: Frozen(owner).digest for p, owner in self.objects.items() if self._may_be_frozen(p, owner)}
        self._made = {path: self._noted(path, owner) for path, owner in self.objects.items()}
        self._parameters = {p: {*_registered(owner)} for p, owner in self.objects.items()}

    # --- what there is -----------------------------------------------------------------------------------------------

    def _visit(self, path: str, owner: Any) -> None:
        """Gives paths to a component and all it holds; the first path of an object is its name."""
        waiting = deque([(path, owner)])
        while waiting:
            path, owner = waiting.popleft()
            if id(owner) in self._paths or id(owner) in self._elsewhere:
                continue
            self._paths[id(owner)], self.objects[path] = path, owner
            if keeps_itself(owner):
                continue
            if isinstance(owner, nn.Module):
                waiting.extend((f"{path}.{name}", child) for name, child in owner.named_children())
                waiting.extend((f"{path}.{name}", tensor) for name, tensor in _registered(owner).items())
            for name, value in self._attributes(path, owner):
                if type(value) not in PLAIN:
                    waiting.extend(_components(f"{path}.{name}", value))

    def _path_of(self, value: Any, slot: str) -> str | None:
        """The path of a known component. One that replaced another of its class takes over its path."""
        if self._is_known(value):
            return self._paths[id(value)]
        if slot in self.objects and type(self.objects[slot]) is type(value) and not isinstance(value, Tensor):
            self._paths.pop(id(self.objects[slot]), None)
            self._paths[id(value)], self.objects[slot] = slot, value
            return slot
        return None

    def _is_known(self, value: Any) -> bool:
        path = self._paths.get(id(value))
        return path is not None and self.objects[path] is value

    def _attributes(self, path: str, owner: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(owner, Tensor) or keeps_itself(owner):
            return
        hidden = self._hidden.get(path, frozenset())
        if isinstance(owner, nn.Module):
            hidden |= _MODULES_OWN
            known = owner._non_persistent_buffers_set
            yield from ((name, value) for name, value in owner._buffers.items() if name in known and value is not None)
        if path.startswith(_METRICS) and hasattr(owner, "state_dict"):  # of a validation's, `reset` clears the rest
            single = (bool, int, float, str) if path.startswith("valid_metrics.") else ()
            hidden |= {name for name, value in owner.state_dict().items() if not isinstance(value, single)}
        for name in (*getattr(owner, "__dict__", ()), *_slots(owner)):
            if name not in hidden and not isinstance(value := getattr(owner, name, None), _CODE):
                yield name, value

    def _iterators(self, path: str, owner: Any) -> Iterator[str]:
        for name, value in self._attributes(path, owner):
            if hasattr(value, "__next__") and not isinstance(value, io.IOBase):
                yield f"{path}.{name} ({type(value).__name__})"

    def _noted(self, path: str, owner: Any) -> dict[str, Any]:
        found = {}
        for name, value in self._attributes(path, owner):
            if type(value) in PLAIN or self._is_known(value):
                found[name] = value if type(value) in PLAIN else {"object": self._paths[id(value)]}
                continue
            try:
                noted = self._values.encoded(value, f"{path}.{name}", large=not path.startswith("data."))
            except NotKept:
                continue
            found[name] = copied(noted)
        return found

    # --- saving ------------------------------------------------------------------------------------------------------

    def take(self) -> dict[str, Any]:
        """The state by path, of what has any: tensors and plain values, shared with the components."""
        if self.held is not None:
            return self.held
        states, frozen = dict[str, Any](), self.frozen()
        for path in list(self.objects):
            owner, state = self.objects[path], dict[str, Any]()
            if self._keeps_weights(path, owner) and path not in frozen:
                state[STATE_DICT] = dict(owner.state_dict())
            elif keeps_itself(owner) and not path.startswith(_METRICS):
                state[STATE_DICT] = self._own_state(path, owner)
            if changed := self._changed(path, owner):
                state[ATTRIBUTES] = changed
            if added := {n: t for n, t in _registered(owner).items() if n not in self._parameters[path]}:
                state[ADDED] = {name: _form(tensor) for name, tensor in added.items()}
                self._known(path, added)
            if state:
                states[path] = state
        for path, (optimizer, made) in self._optimizers.items():
            if len(optimizer.param_groups) > made:
                states[path] = {ADDED: [self._names_in(group) for group in optimizer.param_groups[made:]]}
        return states

    def frozen(self) -> dict[str, Frozen]:
        """The modules that never learn and are as they were made, by path: their weights need writing but once."""
        found = {}
        for path, made in self._frozen.items():
            if is_frozen(self.objects[path]) and (now := Frozen(self.objects[path])).digest == made:
                found[path] = now
        return found

    def _own_state(self, path: str, owner: Any) -> Any:
        try:
            return self._values.encoded(owner.state_dict(), path, large=True)
        except NotKept as error:
            expected = "expected tensors, arrays, numbers, texts, and lists and dicts of them"
            raise CheckpointError(f"the state_dict of {path} cannot be saved: found {error}; {expected}") from None

    def _names_in(self, group: Mapping[str, Any]) -> list[str]:
        return [self._paths.get(id(parameter), "") for parameter in group["params"]]

    def _keeps_weights(self, path: str, owner: Any) -> bool:
        """For the outermost module of a tree: the state_dict of it holds those within."""
        within = f"{path}.".startswith(self._weighted) or isinstance(
            self.objects.get(path.rpartition(".")[0]), nn.Module
        )
        return isinstance(owner, nn.Module) and not keeps_itself(owner) and not within and bool(owner.state_dict())

    def _may_be_frozen(self, path: str, owner: Any) -> bool:
        model = path.startswith("models.") and path.count(".") == 1
        return (
            isinstance(owner, nn.Module)
            and not keeps_itself(owner)
            and is_frozen(owner)
            and (model or self._keeps_weights(path, owner))
        )

    def _changed(self, path: str, owner: Any) -> dict[str, Any]:
        made, found, there = self._made[path], dict[str, Any](), set()
        for name, value in self._attributes(path, owner):
            there.add(name)
            if self._is_known(value) and made.get(name) == {"object": self._paths[id(value)]}:
                continue
            if type(value) in PLAIN:
                if name not in made or type(made[name]) is not type(value) or made[name] != value:
                    found[name] = value
                continue
            place = f"{path}.{name}"
            try:
                noted = self._values.encoded(value, place, large=not path.startswith("data."))
                if name not in made or not same(noted, made[name]):
                    found[name] = self._values.encoded(value, place, large=True)
            except NotKept as error:
                if name in made and place not in self._told:
                    self._told.add(place)
                    log.warning("checkpoints cannot keep %s: a resumed run goes on without it", error)
        return found | {name: {"absent": None} for name in made if name not in there}

    def _known(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self._paths[id(tensor)], self.objects[f"{path}.{name}"] = f"{path}.{name}", tensor
            self._made[f"{path}.{name}"], self._parameters[f"{path}.{name}"] = {}, set()

    def hold(self) -> dict[str, Any]:
        """A copy of the state that nothing changes any more."""
        taken: dict[str, Any] = copied(self.take())
        return taken

    # --- restoring ---------------------------------------------------------------------------------------------------

    def prepare(self, states: Any, most: int) -> None:
        """Makes the parameters and buffers that were added in training, of `most` elements each, and adds groups to
        optimizers; `load` and the weights give them values. Unfit if that cannot be."""
        for path, state in mapping(states, "components").items():
            place = f"components[{path!r}]"
            if path in self._optimizers:
                self._add_groups(path, same_names((ADDED,), state, place)[ADDED], place)
                continue
            for name, form in mapping(mapping(state, place).get(ADDED, {}), f"{place}['{ADDED}']").items():
                owner, key = self.objects.get(path), f"{place}['{ADDED}'][{name!r}]"
                need(isinstance(owner, nn.Module) and isinstance(name, str), key, form, "a parameter of a module")
                form = same_names(("shape", "dtype", "learns", "buffer"), form, key)
                right = isinstance(form["shape"], list) and all(type(n) is int and n >= 0 for n in form["shape"])
                right = right and math.prod(form["shape"]) <= most and isinstance(form["dtype"], torch.dtype)
                need(right and not hasattr(owner, name) and name.isidentifier(), key, form, "a shape and a dtype")
                device = next((tensor.device for tensor in owner.parameters()), None)  # type: ignore[union-attr]
                self._known(path, {name: _make(owner, name, form, device)})

    def _add_groups(self, path: str, groups: Any, key: str) -> None:
        optimizer, made = self._optimizers[path]
        need(isinstance(groups, list), key, groups, "a list of groups")
        for names in groups[len(optimizer.param_groups) - made :]:
            parameters = [self.objects.get(name) for name in names] if isinstance(names, list) else [None]
            right = all(isinstance(parameter, nn.Parameter) for parameter in parameters)
            need(right, key, names, "the paths of parameters of this run")
            optimizer.add_param_group({"params": parameters})

    def check(self, states: Any, passed_over: bool) -> None:
        """Unfit unless each component can take its state. Where the config was changed by force, and for callbacks,
        `passed_over`, states of components that there are no more are left."""
        for path, state in mapping(states, "components").items():
            key = f"components[{path!r}]"
            state, owner = mapping(state, key), self.objects.get(path)
            if path in self._optimizers:
                continue
            if owner is None:
                gone = passed_over or (isinstance(path, str) and path.startswith("callbacks."))
                need(gone, key, state, "a component of this run")
                continue
            parts = [part for part in (STATE_DICT, ATTRIBUTES, ADDED) if part in state]
            same_names(parts, state, key)
            if STATE_DICT in state:
                self._check_state_dict(owner, state[STATE_DICT], f"{key}['{STATE_DICT}']")
            attributes = mapping(state.get(ATTRIBUTES, {}), f"{key}['{ATTRIBUTES}']")
            hides_nothing(owner, attributes, f"{key}['{ATTRIBUTES}']")
            for name, found in attributes.items():
                own = getattr(owner, name, None)
                self._values.check(own, found, f"{key}['{ATTRIBUTES}'][{name!r}]")

    def _check_state_dict(self, owner: Any, found: Any, key: str) -> None:
        need(callable(getattr(owner, "load_state_dict", None)), key, found, "nothing: it has no load_state_dict")
        if not keeps_itself(owner) and isinstance(owner, nn.Module):
            there = owner.state_dict()
            for name, value in same_names(there, found, key).items():
                compare = same_tensor if isinstance(there[name], Tensor) else similar
                compare(there[name], value, f"{key}[{name!r}]")
        else:
            self._values.check(None, found, key)

    def load(self, states: Mapping[str, Any], frozen: Mapping[str, Mapping[str, Tensor]]) -> None:
        """`check` has said that it fits."""
        for path, weights in frozen.items():
            if isinstance(owner := self.objects.get(path), nn.Module):
                if not path.startswith("models."):
                    owner.load_state_dict(weights)
                self._frozen[path] = Frozen(owner).digest
        for path, state in states.items():
            owner = self.objects.get(path)
            if owner is None or path in self._optimizers:
                continue
            if STATE_DICT in state:
                its = state[STATE_DICT]
                owner.load_state_dict(self._values.decoded(its, None, path) if keeps_itself(owner) else its)
            for name, found in state.get(ATTRIBUTES, {}).items():
                if found == {"absent": None}:
                    vars(owner).pop(name, None)
                else:
                    self._put(owner, name, self._values.decoded(found, getattr(owner, name, None), f"{path}.{name}"))

    @staticmethod
    def _put(owner: Any, name: str, value: Any) -> None:
        if isinstance(owner, nn.Module) and name in owner._buffers:
            owner._buffers[name] = value
        else:
            object.__setattr__(owner, name, value)  # what a class does when an attribute is set was done before


def keeps_itself(owner: Any) -> bool:
    """Whether it says itself what its state is."""
    if isinstance(owner, type | Tensor) or not callable(getattr(owner, "load_state_dict", None)):
        return False
    method = getattr(type(owner), "state_dict", None)
    return callable(method) and not getattr(method, "__module__", "").startswith(_INCOMPLETE)


def _components(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The objects that a value is, or that its lists and dicts hold."""
    if isinstance(value, dict | list | tuple | set | deque):
        if len(value) <= LARGE:
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in pairs:
                if type(item) not in PLAIN:
                    yield from _components(f"{path}.{key}", item)
    elif _is_component(path, value):
        yield path, value


def _is_component(path: str, value: Any) -> bool:
    """Modules, what has a state_dict, and objects of the project's own; of other libraries' objects those of torch, and
    in the data any: a transform may draw from a generator of its own."""
    if isinstance(value, nn.Module) or keeps_itself(value) or type(value) is SimpleNamespace:
        return True
    if isinstance(value, (Tensor, type, np.ndarray, np.generic, *GENERATORS)):
        return False
    package = type(value).__module__.partition(".")[0]
    if (
        package in sys.stdlib_module_names
        or package == "logger"
        or not (hasattr(value, "__dict__") or [*_slots(value)])
    ):
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    foreign = "site-packages" in file or "dist-packages" in file
    return not foreign or package in ("torch", "torchvision") or path.startswith("data.")


def _slots(owner: Any) -> Iterator[str]:
    for kind in type(owner).__mro__:
        names = vars(kind).get("__slots__", ())
        yield from (n for n in ((names,) if isinstance(names, str) else names) if n not in ("__dict__", "__weakref__"))


def _registered(owner: Any) -> dict[str, Tensor]:
    """The parameters of this module alone, and those buffers that its state_dict has."""
    if not isinstance(owner, nn.Module):
        return {}
    passing = owner._non_persistent_buffers_set
    tensors = {**owner._parameters, **owner._buffers}.items()
    return {name: tensor for name, tensor in tensors if tensor is not None and name not in passing}


def _form(tensor: Tensor) -> dict[str, Any]:
    buffer = not isinstance(tensor, nn.Parameter)
    return {"shape": [*tensor.shape], "dtype": tensor.dtype, "learns": tensor.requires_grad, "buffer": buffer}


def _make(owner: Any, name: str, form: Mapping[str, Any], device: torch.device | None) -> Tensor:
    tensor = torch.empty(form["shape"], dtype=form["dtype"], device=device)
    if form["buffer"]:
        owner.register_buffer(name, tensor)
    else:
        owner.register_parameter(name, nn.Parameter(tensor, requires_grad=bool(form["learns"])))
    made: Tensor = getattr(owner, name)
    return made
