"""The objects a trainer works with, and losses and metrics of selected outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.errors import UserError, listing
from base.loop.callback import Callback
from base.loop.counts import Ratio, Rule, Terms, checked, rule_of, sum_of
from base.loop.optim import Average, ParameterFreezer, Schedule
from base.loop.stopping import StopRequest
from base.protocols import DataSets, Loader, RunLog
from utils.device import MixedPrecision
from utils.model_summary import Call

if TYPE_CHECKING:
    from base.checkpoint.store import CheckpointStore
    from base.config.keys import OutputTargetConfig, Settings


class NotOneNumber(UserError):
    """A loss has a value for each sample or element, where one number is expected."""

    hint = "set reduction: mean, or end a loss of your own with .mean()"

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.what = "the loss is not a single number" if name == "loss" else f"the loss {name!r} is not a single number"
        is_tensor = isinstance(value, Tensor)
        self.found = f"a tensor of shape {tuple(value.shape)}" if is_tensor else f"a {type(value).__name__}"
        super().__init__(f"{self.what}; found {self.found}; expected one number; {self.hint}")


def one_number_each(terms: Mapping[str, Any]) -> Terms:
    """The terms as tensors without dimensions. Takes tensors of one element, plain numbers and Ratios; NotOneNumber
    names anything else."""
    device = next((value.device for value in terms.values() if isinstance(value, Tensor)), None)
    found = Terms()
    if isinstance(terms, Terms):
        found.parts, found.counts = terms.parts, terms.counts
    for name, value in terms.items():
        if isinstance(value, Ratio):
            found.counts = {**found.counts, name: checked(value.count)}
            value = value.mean
        found[name] = _one_number(name, value, device)
    return found


def summed(terms: Mapping[str, Any]) -> Terms:
    """The terms, and `loss`, the sum of them all."""
    each = one_number_each(terms)
    found = Terms({"loss": sum_of(each.values()), **each})
    found.parts, found.counts = tuple(each), each.counts
    return found


def _one_number(name: str, value: Any, device: torch.device | None) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(()) if value.dim() else value
    if isinstance(value, int | float):
        return torch.tensor(float(value), device=device)
    raise NotOneNumber(name, value)


T = TypeVar("T")


@dataclass
class TrainerComponents:
    """Models, optimizers, schedules and losses are collections by name, usually of one: `model`, `optimizer`,
    `lr_scheduler`, `loss`. Averages of models, where there are any, are what is evaluated. Without optimizers a trainer
    can only evaluate; without a store it keeps nothing."""

    settings: Settings
    device: torch.device
    data: DataSets
    models: dict[str, nn.Module]
    frozen: Collection[str]
    """Names of models that do not learn at all."""
    criteria: dict[str, Callable[..., Any]]
    metrics: dict[str, Any]
    precision: MixedPrecision
    log: RunLog
    averages: dict[str, Average] = field(default_factory=dict)
    freezing: dict[str, ParameterFreezer] = field(default_factory=dict)
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    """The shapes that each model was given in the dry run."""
    config: dict[str, Any] | None = None
    """The run's config as plain values, once it has a directory."""
    store: CheckpointStore | None = None
    request: StopRequest = field(default_factory=StopRequest)


def only_one(kind: str, named: Mapping[str, T], frozen: Collection[str] = ()) -> T:
    """The one model, loss or optimizer there is beside those that are frozen. NotOnlyOne if there are several."""
    if len(named) > 1:
        named = {name: one for name, one in named.items() if name not in frozen} or named
    if len(named) > 1:
        raise NotOnlyOne(f"works with one {kind}, and there are {listing(named, 'and')}")
    return next(iter(named.values()))


class NotOnlyOne(ValueError):
    """A trainer for one model, loss or optimizer was given several."""


def steps_per_epoch(settings: Settings, train: Loader) -> int:
    """Optimizer steps in an epoch: one pass over the data unless the config says otherwise."""
    return settings.trainer.steps_per_epoch or math.ceil(len(train) / settings.trainer.accumulate)


class StepsInsideWindow(UserError):
    """`learn` steps at every batch, which the batches of a window cannot share."""

    exit_code = 2

    def __init__(self, trainer: str, optimizer: str, accumulate: int) -> None:
        found = (
            f"at every batch; found trainer.accumulate: {accumulate}; expected 1: raise data.loader.batch_size instead"
        )
        super().__init__(f"{trainer}.train_step steps the optimizer {optimizer!r} {found}")


class NoSuchOutput(ValueError):
    """`key` of the config names a part that the output or the target does not have."""

    def __init__(self, key: str, what: str, there_is: str) -> None:
        super().__init__(f"{key}: {what}; there is {there_is}")
        self.key, self.what, self.there_is = key, what, there_is


class OutputSelector:
    """What a component is given of an output and a target; `place` is the component's own (`loss.terms.size`)."""

    def __init__(self, component: OutputTargetConfig, place: str) -> None:
        self.output, self.target, self.place = component.output, component.target, place

    def __bool__(self) -> bool:
        return self.output is not None or self.target is not None

    def of(self, output: Any, target: Any) -> tuple[Any, Any]:
        """NoSuchOutput if one of them is no dict, tuple or list, or has no such part."""
        return self._part(output, self.output, "output"), self.of_target(target)

    def of_target(self, target: Any) -> Any:
        return self._part(target, self.target, "target")

    def _part(self, value: Any, key: str | int | None, role: str) -> Any:
        if key is None:
            return value
        known = (
            list(value) if isinstance(value, Mapping) else range(len(value) if isinstance(value, tuple | list) else 0)
        )
        if key in known:
            return value[key]
        there_is = listing(map(str, known), "and") if known else f"a single {type(value).__name__}"
        raise NoSuchOutput(f"{self.place}.{role}", f"the {role} has no part {key!r}", there_is)


class SelectedLoss:
    """A loss of a part of the output and of the target."""

    def __init__(self, loss: Callable[..., Any], parts: OutputSelector) -> None:
        self.loss, self.parts = loss, parts

    def __call__(self, output: Any, target: Any) -> Any:
        return self.loss(*self.parts.of(output, target))

    def rule(self) -> Rule | None:
        """Counts the part of the target."""
        rule = rule_of(self.loss)
        return None if rule is None else lambda target, size: rule(self.parts.of_target(target), size)


class SelectedMetric:
    """A metric of a part of the output and of the target; everything else is the metric's own."""

    def __init__(self, metric: Any, parts: OutputSelector) -> None:
        self.metric, self.parts = metric, parts

    def update(self, output: Any, target: Any) -> None:
        self.metric.update(*self.parts.of(output, target))

    def reset(self) -> None:
        self.metric.reset()

    def compute(self) -> Any:
        return self.metric.compute()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.metric.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.metric.load_state_dict(state)


class WeightedTerms:
    """Several losses of one output and target; their sum is what is learned from."""

    def __init__(self, terms: Mapping[str, tuple[float, Callable[..., Any]]]) -> None:
        self.terms = dict(terms)

    def __call__(self, output: Any, target: Any) -> dict[str, Tensor]:
        """Each term multiplied by its weight."""
        return {name: weight * loss(output, target) for name, (weight, loss) in self.terms.items()}

    def rule(self) -> Rule | None:
        """Each term counts by itself."""
        rules = {name: rule_of(loss) for name, (_, loss) in self.terms.items()}
        if not any(rules.values()):
            return None
        return lambda target, size: {name: rule(target, size) if rule else size for name, rule in rules.items()}
