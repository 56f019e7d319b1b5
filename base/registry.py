"""Registries map a name in a config to the class or function behind it, the user's or a library's.

    from base import MODELS

    @MODELS.register
    class MyNet(nn.Module): ...

A name means, in this order: what the user's own files define, the framework's files, plugins, an adopted library. Only
the file that defines a requested name is imported.
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

ComponentSource = Callable[[], Mapping[str, Any]]


def _classes(module: Any, parent: type, *, without: tuple[str, ...] = ()) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, parent)
        and value is not parent
        and not name.startswith("_")
        and name not in without
    }


def torch_losses() -> Mapping[str, Any]:
    """The modules of torch.nn that its loss file defines."""
    from torch import nn

    return {n: c for n, c in _classes(nn, nn.Module).items() if c.__module__ == "torch.nn.modules.loss"}


def torch_optimizers() -> Mapping[str, Any]:
    from torch import optim

    return _classes(optim, optim.Optimizer)


def needs_closure(optimizer: Any) -> bool:
    """True of an optimizer's class whose `step` cannot be called without arguments, such as LBFGS."""
    step = getattr(optimizer, "step", None)
    if step is None:
        return False
    by_name = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    asked = list(inspect.signature(step).parameters.values())[1:]
    return any(parameter.default is parameter.empty and parameter.kind not in by_name for parameter in asked)


SUPPLIED_TO_OWN_EPOCH = (
    *("model", "criterion", "loss", "metric_ftns", "metrics", "optimizer", "resume", "config", "device"),
    *("data_loader", "train_data_loader", "train_loader", "valid_data_loader", "val_data_loader", "valid_loader"),
    *("val_loader", "test_data_loader", "test_loader", "lr_scheduler", "scheduler", "len_epoch", "train_logger"),
)
"""What the constructor of a trainer with an epoch of its own is given by name; the rest comes from `trainer.args`."""


def has_own_epoch(trainer: Any) -> bool:
    """True of a trainer's class that defines `_train_epoch(epoch)`, as pytorch-template has it, and no `train_step`."""
    return hasattr(trainer, "_train_epoch") and "train_step" in getattr(trainer, "__abstractmethods__", ())


def torch_schedulers() -> Mapping[str, Any]:
    """Without those that take other schedulers as arguments: a chain is a list in the config."""
    from torch.optim import lr_scheduler

    return _classes(lr_scheduler, lr_scheduler.LRScheduler, without=("SequentialLR", "ChainedScheduler"))


def torch_samplers() -> Mapping[str, Any]:
    from torch.utils import data

    return _classes(data, data.Sampler, without=("DistributedSampler",))


def torchvision_models() -> Mapping[str, Any]:
    from torchvision import models

    return {name: _without_weights(models.get_model_builder(name)) for name in models.list_models()}


def _without_weights(builder: Callable[..., Any]) -> Callable[..., Any]:
    """The builder without `weights` and `progress`: its own way to load weights unpickles whatever it is given. With
    `in_channels` other than 3 its first convolution is made anew for so many."""

    @functools.wraps(builder)
    def build(in_channels: int = 3, **kwargs: Any) -> Any:
        model = builder(weights=None, progress=False, **kwargs)
        return model if in_channels == 3 else _with_channels(model, in_channels)

    signature = inspect.signature(builder)
    hidden = {name for name in signature.parameters if name.startswith("weights") or name == "progress"}
    rest = [p for name, p in signature.parameters.items() if name not in hidden]
    channels = inspect.Parameter("in_channels", inspect.Parameter.KEYWORD_ONLY, default=3, annotation=int)
    at = next((i for i, p in enumerate(rest) if p.kind is p.VAR_KEYWORD), len(rest))
    build.__signature__ = signature.replace(parameters=[*rest[:at], channels, *rest[at:]])  # type: ignore[attr-defined]
    return build


def _with_channels(model: Any, channels: int) -> Any:
    """ValueError if the model does not begin with a convolution of three channels."""
    from torch import nn

    name, first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if first is None or first.in_channels != 3 or channels < 1:
        raise ValueError(f"in_channels: {channels}: it does not begin with a convolution that could take so many")
    options = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    model.set_submodule(name, nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **options))
    return model


def torchvision_datasets() -> Mapping[str, Any]:
    from torchvision import datasets

    return _classes(datasets, datasets.VisionDataset)


def torchvision_transforms() -> Mapping[str, Any]:
    from torchvision.transforms import v2

    return _classes(v2, v2.Transform)


def torchmetrics_metrics() -> Mapping[str, Any]:
    import torchmetrics

    return _classes(torchmetrics, torchmetrics.Metric, without=("MetricCollection",))


T = TypeVar("T", bound=Callable[..., Any])
log = logging.getLogger(__name__)


class UnknownName(KeyError):
    """Nobody defines this name. `known` lists what there is; `broken` the files that could not be parsed."""

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

    `supplied` names the parameters that the program fills in. A plain function is a factory, or, with `called_with`
    (losses, metrics, transforms, functions), the component itself: its arguments are bound to it, and the program calls
    it with so many more by position. `names`
    leaves out what of a library `hides` is true of; `get` finds it.
    """

    def __init__(
        self,
        symbol: str,
        kind: str,
        *,
        adopts: tuple[ComponentSource, ...] = (),
        supplied: tuple[str, ...] = (),
        called_with: int = 0,
        hides: Callable[[Any], bool] | None = None,
    ) -> None:
        self.symbol, self.kind = symbol, kind
        self.supplied = supplied
        self._adopts = adopts
        self._called_with = called_with
        self._hides = hides
        self._registered: dict[tuple[str, str], Any] = {}
        self._shadows_told: set[str] = set()

    @overload
    def register(self, target: T, /) -> T: ...
    @overload
    def register(self, target: str, /) -> Callable[[T], T]: ...
    def register(self, target: T | str, /) -> T | Callable[[T], T]:
        """Decorates a class or function. Running the same file again replaces what it registered before."""

        def add(value: T, name: str) -> T:
            self._registered[name, value.__module__] = value
            return value

        if isinstance(target, str):
            return lambda value: add(value, target)
        return add(target, target.__name__)

    def get(self, name: str) -> Any:
        """The class or function registered under `name`; `UnknownName` or `BrokenFile` if there is none to be had."""
        for candidates in (self._outside_files(name, "__main__"), index().find(self.symbol, name, own=False)):
            if len(candidates) > 1:
                places = " and ".join(c.place for c in candidates)
                raise BrokenFile(f"two definitions of the {self.kind} {name!r}: {places}; rename one of them")
            if candidates:
                self._tell_shadowing(name, candidates[0])
                return self._load(candidates[0])
        for definition in (*index().find(self.symbol, name, own=True), *self._outside_files(name)):
            return self._load(definition)
        library = self._adopted()
        if name in library:
            return library[name]
        raise UnknownName(self.kind, name, self.names(), index().broken)

    def names(self) -> list[str]:
        """Every name, sorted; imports the libraries whose names are"""
        defined = {d.name for d in index().definitions if d.registry == self.symbol}
        offered = {n for n, target in self._adopted().items() if self._hides is None or not self._hides(target)}
        return sorted(defined | {name for name, _ in self._registered} | offered)

    def __contains__(self, name: str) -> bool:
        try:
            self.get(name)
        except UnknownName:
            return False
        return True

    def is_users(self, name: str) -> bool:
        """True if the user's own code defines the name."""
        return bool(index().find(self.symbol, name, own=False) or self._outside_files(name))

    def supplied_to(self, target: Any) -> tuple[str, ...]:
        """The parameters of `target` that the program fills in; a class may name others than are usual."""
        if has_own_epoch(target):
            return SUPPLIED_TO_OWN_EPOCH
        if inspect.isclass(target) or not self._called_with:
            return tuple(getattr(target, "supplied_by_program", self.supplied))
        positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        given = [p.name for p in inspect.signature(target).parameters.values() if p.kind in positional]
        return (*self.supplied, *given[: self._called_with])

    def call(self, target: Any, arguments: Mapping[str, Any], supplied: Mapping[str, Any]) -> Any:
        """The component that `target`, which stands in this registry, is with these arguments."""
        if self._called_with and not inspect.isclass(target):
            return functools.partial(target, **arguments) if arguments else target
        return target(**supplied, **arguments)

    def _outside_files(self, name: str, module: str | None = None) -> list[Definition]:
        """What code outside the four folders registered: a notebook (`__main__`), plugins."""
        indexed = {d.module for d in index().definitions}
        return [
            Definition(self.symbol, name, m, ROOT / m, 0, own=False)
            for n, m in self._registered
            if n == name and m not in indexed and module in (None, m)
        ]

    def _load(self, definition: Definition) -> Any:
        key = (definition.name, definition.module)
        if key not in self._registered:
            try:
                module = importlib.import_module(definition.module)
            except Exception as error:
                frames = users_frames(error)
                place = (
                    f"{definition.path.relative_to(ROOT).as_posix()}:{frames[-1].lineno if frames else definition.line}"
                )
                raise BrokenFile(f"{place}: cannot be imported: {type(error).__name__}: {error}") from error
            self._registered.setdefault(key, getattr(module, definition.name, None))
        return self._registered[key]

    def _adopted(self) -> dict[str, Any]:
        names: dict[str, Any] = {}
        for adopt in self._adopts:
            names |= _names_of(adopt)
        return names

    def _tell_shadowing(self, name: str, definition: Definition) -> None:
        if name not in self._shadows_told and index().find(self.symbol, name, own=True):
            self._shadows_told.add(name)
            log.info("%s %s: %s stands in for the framework's own", self.kind, name, definition.place)


@functools.cache
def _names_of(adopt: ComponentSource) -> Mapping[str, Any]:
    return adopt()


MODELS = Registry("MODELS", "model", adopts=(torchvision_models,))
LOSSES = Registry("LOSSES", "loss", adopts=(torch_losses,), called_with=2)
METRICS = Registry("METRICS", "metric", adopts=(torchmetrics_metrics,), called_with=2)
DATASETS = Registry(
    "DATASETS",
    "dataset",
    adopts=(torchvision_datasets,),
    supplied=("transform", "target_transform", "transforms"),
)
TRANSFORMS = Registry("TRANSFORMS", "transform", adopts=(torchvision_transforms,), called_with=1)
OPTIMIZERS = Registry(
    "OPTIMIZERS",
    "optimizer",
    adopts=(torch_optimizers,),
    supplied=("params", "fused"),
    hides=needs_closure,
)
SCHEDULERS = Registry("SCHEDULERS", "scheduler", adopts=(torch_schedulers,), supplied=("optimizer", "last_epoch"))
CALLBACKS = Registry("CALLBACKS", "callback")
TRAINERS = Registry("TRAINERS", "trainer", supplied=("parts",))
LOADERS = Registry("LOADERS", "loader")
SAMPLERS = Registry(
    "SAMPLERS", "sampler", adopts=(torch_samplers,), supplied=("data_source", "targets", "generator", "sampler")
)
FUNCTIONS = Registry("FUNCTIONS", "function", called_with=1)
WRITERS = Registry("WRITERS", "writer")

REGISTRIES = {
    registry.symbol: registry
    for registry in (
        MODELS,
        LOSSES,
        METRICS,
        DATASETS,
        TRANSFORMS,
        OPTIMIZERS,
        SCHEDULERS,
        CALLBACKS,
        TRAINERS,
        LOADERS,
        SAMPLERS,
        FUNCTIONS,
        WRITERS,
    )
}
