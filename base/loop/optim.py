"""Parameter groups, frozen parameters, averaged weights, and learning-rate schedules."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

if TYPE_CHECKING:
    from base.config.keys import GroupConfig

Learning = dict[nn.Parameter, tuple[str, nn.Module, str]]
"""By parameter its full name, the model it is of, and its name there."""


def matches(model: nn.Module, name: str, pattern: str, full_name: str = "") -> bool:
    """True if the pattern is found in a parameter's name, `features.1.weight`, or in that with its kind behind it,
    `features.1.weight BatchNorm2d.weight`: so `^(?!fc)` is no pattern of kinds."""
    owner, _, own = name.rpartition(".")
    full = full_name or name
    kind = f"{full} {type(model.get_submodule(owner)).__name__}.{own}"
    return bool(re.search(pattern, full) or re.search(pattern, kind))


def learning(models: Mapping[str, nn.Module], chosen: str | None = None) -> Learning:
    """Every parameter that needs gradients, once; its name is, of several models, behind the model's and a dot.

    `chosen` leaves those of the model of that name, or those that the pattern matches.
    """
    found: Learning = {}
    for model_name, model in models.items():
        for name, parameter in model.named_parameters():
            full = f"{model_name}.{name}" if len(models) > 1 else name
            wanted = model_name == chosen if chosen in models else not chosen or matches(model, name, chosen, full)
            if wanted and parameter.requires_grad and parameter not in found:
                found[parameter] = full, model, name
    return found


def grouped(
    parameters: Learning, groups: Sequence[GroupConfig], args: Mapping[str, Any], name: str
) -> list[dict[str, Any]]:
    """The groups as torch.optim takes them, those of the config first, then the rest; each parameter in the first that
    matches. `name` is the optimizer's where there are several. A group may come out empty.
    """
    found: list[dict[str, Any]] = []
    left = dict(parameters)
    for i, group in enumerate(groups):
        mine = [p for p, (full, model, own) in left.items() if matches(model, own, group.match, full)]
        left = {p: names for p, names in left.items() if p not in set(mine)}  # a list would compare the numbers
        options = {**group.args}
        if group.lr_scale != 1:
            options["lr"] = options.get("lr", args["lr"]) * group.lr_scale
        found.append({"params": mine, **options, "name": "_".join(filter(None, (name, group.name or str(i))))})
    rest = "_".join(filter(None, (name, "rest" if groups else "")))
    return [*found, *([{"params": list(left), **({"name": rest} if rest else {})}] if left else [])]


class ParameterFreezer:
    """The parameters that one of `patterns` is found in need no gradients before the epoch `until` (None: ever).

    A module whose parameters are all frozen, by the patterns or from the start by other means (its constructor, a
    trainer's), stays in eval mode with all below it: BatchNorm keeps its statistics, Dropout lets everything pass. A
    module without parameters follows the one above it. What is frozen later is left alone. `whole`: all of a model
    stays so.
    """

    def __init__(
        self, model: nn.Module, patterns: Sequence[str] = (), until: int | None = None, *, whole: bool = False
    ) -> None:
        self.until, self.whole = until, whole
        learns = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for name, p in learns if any(matches(model, name, pattern) for pattern in patterns)]
        self.fixed = set(model.parameters()) - {p for _, p in learns}
        """Parameters that were frozen from the start, whatever the patterns say."""
        modules = {"": model} if whole else dict(model.named_modules())
        self.modules = {n: m for n, m in modules.items() if whole or _is_within(m, self.fixed | set(self.parameters))}

    def frozen(self, epoch: int) -> list[nn.Module]:
        """The modules that stay in eval mode, but for those that a trainer made learn again."""
        chosen = set() if self._learns(epoch) else set(self.parameters)
        asleep = chosen | {p for p in self.fixed if not p.requires_grad}
        return [module for module in self.modules.values() if self.whole or _is_within(module, asleep)]

    def found_frozen(self) -> list[str]:
        """The topmost modules that are frozen though the config does not say so."""
        tops: list[str] = []
        for name, module in self.modules.items():
            inside = any(not top or name.startswith(f"{top}.") for top in tops)
            if not inside and not self.whole and _is_within(module, self.fixed):
                tops.append(name)
        return tops

    def apply(self, epoch: int) -> None:
        """After the model was put in train mode."""
        for parameter in self.parameters:
            parameter.requires_grad_(self._learns(epoch))
        for module in self.frozen(epoch):
            module.eval()

    def _learns(self, epoch: int) -> bool:
        return self.until is not None and epoch >= self.until


@contextmanager
def without_gradients(model: nn.Module) -> Iterator[None]:
    """For a while none of the parameters asks for gradients; afterwards those do that did before, and no others."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _is_within(module: nn.Module, frozen: set[nn.Parameter]) -> bool:
    own = set(module.parameters())
    return bool(own) and own <= frozen


def set_mode(
    models: Mapping[str, nn.Module], freezing: Mapping[str, ParameterFreezer], training: bool, epoch: int
) -> None:
    """Train mode, but for what is frozen in this epoch, or eval mode."""
    for name, model in models.items():
        model.train(training)
        if training and name in freezing:
            freezing[name].apply(epoch)


class Average(AveragedModel):
    """The average of a model's parameters and floating-point buffers, such as BatchNorm's statistics. Everything else
    is copied: integer tables, counters, masks."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__(model, multi_avg_fn=_moving(decay), use_buffers=True)

    @torch.no_grad()
    def follow(self, model: nn.Module, copied: Collection[str]) -> None:
        """After a step of the model. `copied` names buffers that are not averaged: an average with -inf is NaN."""
        self.update_parameters(model)
        for name in copied:
            self.module.get_buffer(name).copy_(model.get_buffer(name))


def follow(averages: Mapping[str, Average], models: Mapping[str, nn.Module], not_finite: Collection[str]) -> None:
    """Brings the averages up to date. `not_finite` names buffers, `model.name`, that held infinities or NaN when the
    run began; each is copied as a whole, finite elements too."""
    for name, average in averages.items():
        prefix = f"{name}."
        average.follow(models[name], [one.removeprefix(prefix) for one in not_finite if one.startswith(prefix)])


def _moving(decay: float) -> Any:
    """torch's average for floating-point and complex numbers; whole numbers and truth values are copied."""
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    def update(averages: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        if averages[0].is_floating_point() or averages[0].is_complex():
            average(averages, current, count)
        else:
            torch._foreach_copy_(averages, current)

    return update


SCHEDULED = ("lr", "initial_lr", "max_lr", "min_lr", "momentum", "betas", "max_momentum", "base_momentum")
"""The options of a parameter group that schedulers of torch set."""
_PLAIN = (bool, int, float, str, tuple, type(None))


@dataclass(frozen=True)
class Link:
    """One scheduler of a chain, stepped `every` step, epoch or monitor evaluation, for `steps` of those (None: to the
    end)."""

    make: Callable[[Optimizer], LRScheduler]
    every: str
    steps: int | None = None
    place: str = ""
    """Its key in the config."""
    type: str = ""
    args: str = ""
    """Its arguments as a text, with the facts put in: equal texts make equal schedulers."""


class Schedule:
    """A chain of schedulers, each taking over where the one before ends; an empty chain leaves the rate alone.

    A link's scheduler is made when its turn comes, from the rate that the optimizer was given at first: so a warm-up
    does not change what follows it. torch's SequentialLR does the same for links that all step in one unit.
    """

    def __init__(self, optimizer: Optimizer, links: Sequence[Link] = ()) -> None:
        self.optimizer = optimizer
        self.links = list(links)
        self.given = [{k: v for k, v in g.items() if isinstance(v, _PLAIN)} for g in optimizer.param_groups]
        """The options of each parameter group before any schedule."""
        self._take_over(0)

    @property
    def made(self) -> dict[str, Any]:
        """What the rates follow from. A save keeps it: one made otherwise was saved before the config was changed."""
        links = [(link.type, link.args, link.every, link.steps) for link in self.links]
        return {"groups": self.given, "links": links}

    def after_step(self) -> None:
        self._advance("step")

    def after_epoch(self) -> None:
        self._advance("epoch")

    def after_evaluation(self, value: float) -> None:
        """`value` is the monitored one."""
        self._advance("monitor", value)

    def replay(self, units: Iterable[str]) -> None:
        """Advances as a run does in which these followed each other: `step`, `epoch`, `monitor`. A ReduceLROnPlateau
        stays as it is: the values are not known any more. Raises whatever a scheduler raises.
        """
        with warnings.catch_warnings(action="ignore"):  # that the optimizer did not step
            for unit in units:
                self._advance(unit)

    def afresh(self) -> Schedule:
        """The same schedule at its beginning, of a stand-in for the optimizer."""
        optimizer = copy.copy(self.optimizer)
        optimizer.param_groups = [
            {k: v for k, v in group.items() if k not in SCHEDULED} | given
            for group, given in zip(self.optimizer.param_groups, self.given, strict=True)
        ]
        return Schedule(optimizer, self.links)

    def _take_over(self, number: int) -> None:
        self.current, self.done = number, 0
        for group in self.optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"])
        self.scheduler = self.links[number].make(self.optimizer) if self.links else None

    def _advance(self, unit: str, value: float | None = None) -> None:
        if self.scheduler is None or self.links[self.current].every != unit:
            return
        self.done += 1
        if self.done == self.links[self.current].steps and self.current + 1 < len(self.links):
            self._take_over(self.current + 1)
        elif isinstance(self.scheduler, ReduceLROnPlateau):
            if value is not None:
                self.scheduler.step(value)
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        scheduler = self.scheduler.state_dict() if self.scheduler else None
        return {"current": self.current, "done": self.done, "scheduler": scheduler, "made": self.made}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before the optimizer's own state is loaded, which holds the rate of the moment."""
        if state["current"] != self.current:  # else the scheduler stays, which a trainer of the user's may hold
            self._take_over(state["current"])
        self.done = state["done"]
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])


def told(rates: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {rate:g}" for name, rate in rates.items())


def learning_rates_of(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The learning rate; of several groups each by name or number."""
    groups = [g for optimizer in optimizers for g in optimizer.param_groups]
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', i)}": float(group["lr"]) for i, group in enumerate(groups)}
