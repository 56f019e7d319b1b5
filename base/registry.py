"""Registries map a name in a config to the class or function behind it, the user's or a library's.

    from base import MODELS

    @MODELS.register
    class MyNet(nn.Module): ...

A name is looked up in this order: the user's own files, the framework's files, plugins, libraries. Only the file that
defines a requested name is imported.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, overload

from base.discovery import ROOT, Definition, Index, build_index, users_frames
from base.errors import UserError
from base.protocols import NamesSupplied
from utils import library_components as library

SUPPLIED_TO_OWN_EPOCH = (
    *("model", "criterion", "loss", "metric_ftns", "metrics", "optimizer", "resume", "config", "device"),
    *("data_loader", "train_data_loader", "train_loader", "valid_data_loader", "val_data_loader", "valid_loader"),
    *("val_loader", "test_data_loader", "test_loader", "lr_scheduler", "scheduler", "len_epoch", "train_logger"),
)
"""The arguments that the constructor of a trainer with its own epoch gets by name; others come from `trainer.args`."""


def has_own_epoch(trainer: Any) -> bool:
    """True if a trainer class defines `_train_epoch(epoch)`, as in pytorch-template, and no `train_step`."""
    return hasattr(trainer, "_train_epoch") and "train_step" in getattr(trainer, "__abstractmethods__", ())


T = TypeVar("T", bound=Callable[..., Any])
log = logging.getLogger(__name__)


class UnknownName(KeyError):
    """No file or library defines this name. `known` lists all names, `broken` the files that could not be parsed."""

    def __init__(self, kind: str, name: str, known: list[str], broken: Mapping[str, str]) -> None:
        super().__init__(f"no {kind} is named {name!r}")
        self.kind, self.name, self.known, self.broken = kind, name, known, broken


class BrokenFile(UserError):
    """A file that defines a requested name cannot be imported, or two of the user's files define it."""


@functools.cache
def index() -> Index:
    return build_index()


class Registry:
    """One kind of component.

    `adopts` returns a library's components by name. `supplied` names the parameters that the program fills in. A plain
    function is a factory, unless `called_with` is set (losses, metrics, transforms, functions). Then it is the
    component itself: the config's arguments are bound to it, and it is called with `called_with` positional arguments.
    `get` finds library components for which `hides` is true, but `names` does not list them.
    """

    def __init__(
        self,
        symbol: str,
        kind: str,
        *,
        adopts: Callable[[], Mapping[str, Any]] = dict,
        supplied: tuple[str, ...] = (),
        called_with: int = 0,
        hides: Callable[[Any], bool] = lambda component: False,
    ) -> None:
        self.symbol, self.kind, self.supplied = symbol, kind, supplied
        self._adopted = functools.cache(adopts)
        self._called_with, self._hides = called_with, hides
        self._registered: dict[tuple[str, str], Any] = {}
        """By name and module."""
        self._shadows_logged: set[str] = set()

    @overload
    def register(self, target: T, /) -> T: ...
    @overload
    def register(self, target: str, /) -> Callable[[T], T]: ...
    def register(self, target: T | str, /) -> T | Callable[[T], T]:
        """Decorates a class or function, optionally with a name. A second registration by the same module replaces the
        first, so a notebook cell can be run again."""

        def add(value: T, name: str) -> T:
            self._registered[name, value.__module__] = value
            return value

        if isinstance(target, str):
            return lambda value: add(value, target)
        return add(target, target.__name__)

    def get(self, name: str) -> Any:
        """The class or function registered under `name`. Raises UnknownName if there is none, BrokenFile if two of the
        user's files define it or if its file cannot be imported."""
        files, key, outside = index(), (self.symbol, name), self._outside_files(name)
        users, own, in_notebook = files.users.get(key, []), files.own.get(key), "__main__" in outside
        if len(users) > 1 and not in_notebook:
            places = " and ".join(definition.place for definition in users)
            raise BrokenFile(f"two definitions of the {self.kind} {name!r}: {places}; rename one of them")
        if own and (users or in_notebook) and name not in self._shadows_logged:
            self._shadows_logged.add(name)
            place = "__main__" if in_notebook else users[0].place
            log.info("%s %s: %s replaces the framework's own", self.kind, name, place)
        if in_notebook:
            return self._registered[name, "__main__"]
        if definition := users[0] if users else own:
            return self._load(definition)
        if outside:
            return self._registered[name, outside[0]]
        if name in self._adopted():
            return self._adopted()[name]
        raise UnknownName(self.kind, name, self.names(), files.broken)

    def names(self) -> list[str]:
        """All names, sorted. Imports the adopted libraries."""
        defined = {name for symbol, name in (*index().users, *index().own) if symbol == self.symbol}
        offered = {name for name, target in self._adopted().items() if not self._hides(target)}
        return sorted(defined | {name for name, _ in self._registered} | offered)

    def __contains__(self, name: str) -> bool:
        try:
            self.get(name)
        except UnknownName:
            return False
        return True

    def is_users(self, name: str) -> bool:
        """True if the user's own code defines the name."""
        return (self.symbol, name) in index().users or bool(self._outside_files(name))

    def supplied_to(self, target: Any) -> tuple[str, ...]:
        """The parameters of `target` that the program fills in; a class may declare its own list."""
        if has_own_epoch(target):
            return SUPPLIED_TO_OWN_EPOCH
        if inspect.isclass(target) or not self._called_with:
            return target.supplied_by_program if isinstance(target, NamesSupplied) else self.supplied
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        given = [p.name for p in inspect.signature(target).parameters.values() if p.kind in positional]
        return (*self.supplied, *given[: self._called_with])

    def call(self, target: Any, arguments: Mapping[str, Any], supplied: Mapping[str, Any]) -> Any:
        """Makes the component from `target`, a member of this registry, and these arguments."""
        if self._called_with and not inspect.isclass(target):
            return functools.partial(target, **arguments) if arguments else target
        return target(**supplied, **arguments)

    def _outside_files(self, name: str) -> list[str]:
        """The modules outside the four folders that registered the name: a notebook (`__main__`) or plugins."""
        return [module for n, module in self._registered if n == name and module not in index().modules]

    def _load(self, definition: Definition) -> Any:
        key = (definition.name, definition.module)
        if key not in self._registered:
            try:
                module = importlib.import_module(definition.module)
            except Exception as error:
                frames = users_frames(error)
                line = frames[-1].lineno if frames else definition.line
                place = f"{definition.path.relative_to(ROOT).as_posix()}:{line}"
                raise BrokenFile(f"{place}: cannot be imported: {type(error).__name__}: {error}") from error
            self._registered.setdefault(key, getattr(module, definition.name, None))
        return self._registered[key]


MODELS = Registry("MODELS", "model", adopts=library.torchvision_models)
LOSSES = Registry("LOSSES", "loss", adopts=library.torch_losses, called_with=2)
METRICS = Registry("METRICS", "metric", adopts=library.torchmetrics_metrics, called_with=2)
DATASETS = Registry(
    "DATASETS",
    "dataset",
    adopts=library.torchvision_datasets,
    supplied=("transform", "target_transform", "transforms"),
)
TRANSFORMS = Registry("TRANSFORMS", "transform", adopts=library.torchvision_transforms, called_with=1)
OPTIMIZERS = Registry(
    "OPTIMIZERS",
    "optimizer",
    adopts=library.torch_optimizers,
    supplied=("params", "fused"),
    hides=library.needs_closure,
)
SCHEDULERS = Registry("SCHEDULERS", "scheduler", adopts=library.torch_schedulers, supplied=("optimizer", "last_epoch"))
CALLBACKS = Registry("CALLBACKS", "callback")
TRAINERS = Registry("TRAINERS", "trainer", supplied=("parts",))
LOADERS = Registry("LOADERS", "loader")
SAMPLERS = Registry(
    "SAMPLERS",
    "sampler",
    adopts=library.torch_samplers,
    supplied=("data_source", "targets", "generator", "sampler"),
)
FUNCTIONS = Registry("FUNCTIONS", "function", called_with=1)
WRITERS = Registry("WRITERS", "writer")

REGISTRIES = {symbol: value for symbol, value in list(globals().items()) if isinstance(value, Registry)}
"""By symbol, in the order above."""
