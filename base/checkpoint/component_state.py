"""What the state of a component is, by path: `{"loss.loss": {...}, "trainer.balance": {...}}`.

A component that has `state_dict` and `load_state_dict` of its own is kept by them. Anything else is kept by what its
attributes hold: plain values, lists and dicts of them, tensors, NumPy arrays and generators. So is a torch.nn module,
whose `state_dict` knows parameters and buffers alone. Objects that it holds are components too, at any depth.

Of attributes only what has changed since the component was made is kept: a resumed run makes it again from its config.
`component_load` puts the state back.
"""

from __future__ import annotations

import io
import logging
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any
from weakref import ReferenceType

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from base.checkpoint.component_values import GENERATORS, PLAIN, Frozen, changes, copied, generator_state, has_generator
from base.errors import CheckpointError

STATE_DICT, ATTRIBUTES, ADDED = "state_dict", "attributes", "added"
"""The parts of a component's state: by its own methods; attributes by name; parameters made in training."""
SEQUENCES: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
MAPPINGS: dict[str, Any] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
_LARGE = 10_000
"""Entries of a list, or a hundredth of the bytes of an array, from which on it is data."""
_MODULES_OWN = frozenset(vars(nn.Module()))
_METRICS = ("metrics.", "valid_metrics.")
"""Roots whose `state_dict` is kept elsewhere, or of no use."""
_AVERAGES = "averages."
_INCOMPLETE = ("torch.nn.modules.module", "base.loop.")
"""Where a `state_dict` is defined that does not know what a subclass adds."""
_CODE = (type, FunctionType, BuiltinFunctionType, MethodType, partial, ModuleType, ReferenceType)
log = logging.getLogger(__name__)


class NotKept(ValueError):
    """A value of a kind that no save can hold; the text says where and which."""

    def __init__(self, place: str, value: Any, kind: str = "") -> None:
        super().__init__(f"{place} ({kind or type(value).__name__})")
        self.value = value


class _Large:
    """Stands for data that was there when its owner was made: it is looked at by identity, length and version."""

    def __init__(self, value: Any) -> None:
        self.value, self._form = value, (len(value), getattr(value, "_version", 0))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Large) and self.value is other.value and self._form == other._form

    __hash__ = None  # type: ignore[assignment]


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
        self.optimizers = {path: (one, len(one.param_groups)) for path, one in (optimizers or {}).items()}
        """With the number of groups that each was made with."""
        self._hidden = {path: frozenset(names) for path, names in (hidden or {}).items()}
        self._hide_states_of_metrics(roots)
        self._weighted = frozenset(weighted)
        named = {id(root) for root in roots.values()}
        self._elsewhere = {id(one): one for one in elsewhere if id(one) not in named}
        self._paths: dict[int, str] = {}
        self._made: dict[str, dict[str, Any]] = {}
        self._lost: dict[str, None] = {}
        for path, root in roots.items():
            self._visit(path, root)
        self._made = copied({path: self._noted(path, owner) for path, owner in self.objects.items()})
        if self._lost:
            hint = "a resumed run begins them anew; give their owners state_dict and load_state_dict"
            log.warning("checkpoints cannot keep %s: %s", ", ".join(self._lost), hint)
        self._registered = {path: {*_registered(owner)} for path, owner in self.objects.items()}
        self._layers = {path: {*getattr(owner, "_modules", ())} for path, owner in self.objects.items()}
        outermost = [path for path, owner in self.objects.items() if self._is_outermost(path, owner)]
        self._frozen = {p: Frozen(self.objects[p]).digest for p in outermost if _is_frozen(self.objects[p])}

    # --- what there is -----------------------------------------------------------------------------------------------

    def _visit(self, path: str, owner: Any) -> None:
        """Gives paths to a component and all it holds; the first path of an object is its name."""
        waiting = deque([(path, owner)])
        while waiting:
            path, owner = waiting.popleft()
            if id(owner) in self._paths or id(owner) in self._elsewhere:
                continue
            self._name(path, owner)
            if keeps_itself(owner):
                continue
            if isinstance(owner, nn.Module):
                waiting.extend((f"{path}.{name}", child) for name, child in owner.named_children())
                waiting.extend((f"{path}.{name}", tensor) for name, tensor in _registered(owner).items())
            for name, value in self._attributes(path, owner):
                if type(value) not in PLAIN:
                    waiting.extend(_components(f"{path}.{name}", value))

    def _name(self, path: str, owner: Any) -> None:
        self._paths[id(owner)], self.objects[path] = path, owner

    def _path_of(self, value: Any, slot: str) -> str | None:
        """The path of a known component. One that replaced another of its class takes over its path."""
        path = self._paths.get(id(value))
        if path is not None and self.objects[path] is value:
            return path
        if slot in self.objects and type(self.objects[slot]) is type(value) and not isinstance(value, Tensor):
            self._paths.pop(id(self.objects[slot]), None)
            self._name(slot, value)
            return slot
        return None

    def _attributes(self, path: str, owner: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(owner, Tensor) or keeps_itself(owner):
            return
        hidden = self._hidden.get(path, frozenset())
        if isinstance(owner, nn.Module):
            hidden |= _MODULES_OWN
            known = owner._non_persistent_buffers_set
            yield from ((name, value) for name, value in owner._buffers.items() if name in known and value is not None)
        for name in (*getattr(owner, "__dict__", ()), *_slots(owner)):
            if name not in hidden and not isinstance(value := getattr(owner, name, None), _CODE):
                yield name, value

    def _hide_states_of_metrics(self, roots: Mapping[str, Any]) -> None:
        """The loop saves them itself, or needs none: `reset` clears what a validation gathers but single values."""
        metrics = [(path, root) for path, root in roots.items() if path.startswith(_METRICS)]
        states = {path: metric.state_dict() for path, metric in metrics if hasattr(metric, "state_dict")}
        for path, its in states.items():
            single = (bool, int, float, str) if path.startswith("valid_metrics.") else ()
            self._hidden[path] = frozenset([name for name, value in its.items() if not isinstance(value, single)])

    def _is_outermost(self, path: str, owner: Any) -> bool:
        """Whether it is a module whose state_dict has weights, and no other's has the same ones."""
        parent = self.objects.get(path.rpartition(".")[0])
        return (
            isinstance(owner, nn.Module)
            and not (keeps_itself(owner) or isinstance(parent, nn.Module) or path.startswith((*_METRICS, _AVERAGES)))
            and bool(owner.state_dict())
        )

    def tell_of_workers(self, labels: Iterable[str]) -> None:
        """Names what is likely to change in the worker processes that read these sets of data, where no save sees it:
        generators, and what has a state_dict. Other values may be constants."""
        within = tuple(f"data.{label}." for label in labels)
        its = [path for path in self.objects if path.startswith(within) and ".loader" not in path]
        lost = [path for path in its if keeps_itself(self.objects[path])]
        lost += [f"{path}.{name}" for path in its for name, noted in self._made[path].items() if has_generator(noted)]
        if lost:
            hint = "a resumed run begins them anew; with data.loader.num_workers: 0 they are kept"
            self._tell(f"checkpoints cannot keep what changes in worker processes, such as {', '.join(lost)}: {hint}")

    # --- values as a save holds them ---------------------------------------------------------------------------------

    def _noted(self, path: str, owner: Any) -> dict[str, Any]:
        """The attributes by name. Data stand for themselves, and what cannot be kept is as it was."""
        made, found = self._made.get(path), dict[str, Any]()
        for name, value in self._attributes(path, owner):
            place = f"{path}.{name}"
            try:
                found[name] = self._encoded(value, place, large=not path.startswith("data."))
            except NotKept as error:
                if made is None or name not in made:
                    if _changes_unseen(error.value, path) and id(error.value) not in self._elsewhere:
                        self._lost[str(error)] = None
                    continue
                found[name] = made[name]
                if not isinstance(error.value, (*_CODE, RemovableHandle)):  # hooks are registered anew by a resumed run
                    self._tell(f"checkpoints cannot keep {error}: a resumed run goes on without it")
        return found

    def _encoded(self, value: Any, place: str, large: bool, within: tuple[int, ...] = ()) -> Any:
        """Plain values and tensors are as they are; all else is a dict of one entry that says what it is: `{"list":
        [...]}`, `{"array": tensor}`, `{"object": "trainer.balance"}`. NotKept if that cannot be. Unless `large`, data
        is `_Large`."""
        if type(value) in PLAIN:
            return value
        if (path := self._path_of(value, place)) is not None:
            return {"object": path}
        if id(value) in within:
            raise NotKept(place, value, "it contains itself")
        if isinstance(value, Tensor | np.ndarray | np.generic):
            return _Large(value) if not large and value.ndim and value.nbytes > 100 * _LARGE else _numbers(value, place)
        if isinstance(value, GENERATORS):
            return {"generator": generator_state(value)}
        if isinstance(value, list | tuple | set | frozenset | deque | dict):
            if len(value) > _LARGE and not large:
                return _Large(value)
            return self._items(value, place, large, (*within, id(value)))
        raise NotKept(place, value)

    def _items(self, value: Any, place: str, large: bool, within: tuple[int, ...]) -> Any:
        def each(items: Iterable[tuple[Any, Any]]) -> list[Any]:
            return [self._encoded(item, f"{place}.{key}", large, within) for key, item in items]

        if isinstance(value, dict):
            items = each(value.items())
            if not all(type(key) in (str, int, bool, float, type(None)) for key in value):
                return {"pairs": [[key, item] for key, item in zip(each(enumerate(value)), items, strict=True)]}
            kind = type(value).__name__ if type(value) in MAPPINGS.values() else "dict"
            return {kind: dict(zip(value, items, strict=True))}
        if isinstance(value, deque):
            return {"deque": [value.maxlen, each(enumerate(value))]}
        if isinstance(value, tuple) and type(value) is not tuple:
            raise NotKept(place, value)
        name = next(n for n, kind in SEQUENCES.items() if isinstance(value, kind))
        return {name: each(enumerate(sorted(value, key=repr) if isinstance(value, set | frozenset) else value))}

    def _tell(self, line: str) -> None:
        """Each line once."""
        if line not in self._lost:
            self._lost[line] = None
            log.warning("%s", line)

    # --- saving ------------------------------------------------------------------------------------------------------

    def take(self) -> dict[str, Any]:
        """The state by path, of what has any: tensors and plain values, shared with the components."""
        if self.held is not None:
            return self.held
        frozen, added = self.frozen(), self._added()
        changed = changes({path: self._noted(path, owner) for path, owner in [*self.objects.items()]}, self._made)
        states: dict[str, dict[str, Any]] = {path: {ADDED: forms} for path, forms in added.items()}
        for path, owner in self.objects.items():
            state = states.get(path, {})
            if path not in self._weighted and path not in frozen and self._is_outermost(path, owner):
                state[STATE_DICT] = dict(owner.state_dict())
            elif keeps_itself(owner) and not path.startswith(_METRICS):
                state[STATE_DICT] = self._own_state(path, owner)
            if path in changed:
                state[ATTRIBUTES] = {
                    name: self._encoded(found.value, f"{path}.{name}", large=True) if type(found) is _Large else found
                    for name, found in changed[path].items()
                }
            if state:
                states[path] = state
        for path, (optimizer, made) in self.optimizers.items():
            if len(optimizer.param_groups) > made:
                groups = [[self._paths.get(id(p), "") for p in g["params"]] for g in optimizer.param_groups[made:]]
                states[path] = {ADDED: groups}
        return states

    def hold(self) -> dict[str, Any]:
        """A copy of the state that nothing changes any more."""
        taken: dict[str, Any] = copied(self.take())
        return taken

    def frozen(self) -> dict[str, Frozen]:
        """The modules that never learn and are as they were made, by path: their weights need writing but once."""
        still = {path: self.objects[path] for path in self._frozen if _is_frozen(self.objects[path])}
        now = {path: Frozen(module) for path, module in still.items()}
        return {path: one for path, one in now.items() if one.digest == self._frozen[path]}

    def was_frozen(self, path: str) -> None:
        """The weights that the module has now are those that it was made with."""
        self._frozen[path] = Frozen(self.objects[path]).digest

    def _own_state(self, path: str, owner: Any) -> Any:
        try:
            return self._encoded(owner.state_dict(), path, large=True)
        except NotKept as error:
            expected = "expected tensors, arrays, numbers, texts, and lists and dicts of them"
            raise CheckpointError(f"the state_dict of {path} cannot be saved: found {error}; {expected}") from None

    def _added(self) -> dict[str, dict[str, Any]]:
        """The parameters and buffers that modules were given in training, which have paths from here on."""
        found = {}
        for path, owner in [*self.objects.items()]:
            tensors = {name: one for name, one in _registered(owner).items() if name not in self._registered[path]}
            if tensors:
                found[path] = {name: _form(tensor) for name, tensor in tensors.items()}
                self.add_tensors(path, tensors)
            for name in {} if keeps_itself(owner) else getattr(owner, "_modules", {}).keys() - self._layers[path]:
                what = f"checkpoints cannot rebuild {path}.{name}, a layer that was made in training"
                self._tell(f"{what}: the run cannot be resumed from them; make the layer in __init__")
        return found

    def add_tensors(self, path: str, tensors: Mapping[str, Tensor]) -> None:
        """Gives paths to new parameters and buffers of a module."""
        for name, tensor in tensors.items():
            full = f"{path}.{name}"
            self._name(full, tensor)
            self._made[full], self._registered[full], self._layers[full] = {}, set(), set()


def keeps_itself(owner: Any) -> bool:
    """Whether it says itself what its state is."""
    if isinstance(owner, type | Tensor) or not callable(getattr(owner, "load_state_dict", None)):
        return False
    method = getattr(type(owner), "state_dict", None)
    return callable(method) and not getattr(method, "__module__", "").startswith(_INCOMPLETE)


def _is_frozen(module: nn.Module) -> bool:
    parameters = [*module.parameters()]
    return bool(parameters) and not any(one.requires_grad or is_lazy(one) for one in parameters)


def _changes_unseen(value: Any, path: str) -> bool:
    """Iterators; and what belongs to the process, such as files, locks and sockets, which refuses to be pickled. Those
    of the data are opened anew wherever it is read."""
    if path.startswith("data."):
        return hasattr(value, "__next__") and not isinstance(value, io.IOBase)
    try:
        return hasattr(value, "__next__") or not value.__reduce_ex__(4)
    except TypeError:
        return True
    except Exception:  # the user's own code says how it is pickled
        return False


def _components(path: str, value: Any) -> list[tuple[str, Any]]:
    """The objects that a value is, or that its lists and dicts hold."""
    if isinstance(value, dict | list | tuple | set | deque):
        items = [*value.items()] if isinstance(value, dict) else [*enumerate(value)]
        items = items if len(items) <= _LARGE else []
        return [found for k, one in items if type(one) not in PLAIN for found in _components(f"{path}.{k}", one)]
    return [(path, value)] if _is_component(path, value) else []


def _is_component(path: str, value: Any) -> bool:
    """Modules, what has a state_dict, and objects of the project's own; of other libraries' objects those of torch, and
    in the data any: a transform may draw from a generator of its own."""
    if isinstance(value, nn.Module) or keeps_itself(value) or type(value) is SimpleNamespace:
        return True
    if isinstance(value, (Tensor, type, np.ndarray, np.generic, *GENERATORS)):
        return False
    package = type(value).__module__.partition(".")[0]
    attributes = hasattr(value, "__dict__") or [*_slots(value)]
    if package in sys.stdlib_module_names or package == "logger" or not attributes:
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


def _numbers(value: Any, place: str) -> Any:
    if isinstance(value, Tensor):
        if type(value) not in (Tensor, nn.Parameter) or value.layout is not torch.strided or value.is_meta:
            raise NotKept(place, value, f"{type(value).__name__}, {value.layout}, on {value.device}")
        value = value.detach()
        return value if value.device.type == "cpu" else {"on device": value}
    if value.dtype.kind not in "biufc" or value.dtype.itemsize > 16 or value.dtype == np.longdouble:
        raise NotKept(place, value, f"{value.dtype} array")
    return {"array": torch.from_numpy(np.array(value))}
