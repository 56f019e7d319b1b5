"""What a trainer works with, handed over as one object."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn
from torch.optim import Optimizer

from base.averages import Average
from base.base_callback import Callback
from base.errors import listing
from base.freezing import Freezing
from base.protocols import DataSets, Loader, RunLog
from base.saving.own_state import OwnState
from base.schedule import Schedule
from base.signals import StopRequest
from utils.model_summary import Call
from utils.precision import Precision

if TYPE_CHECKING:
    from base.config.keys import Settings
    from base.saving.checkpoint import CheckpointStore


T = TypeVar("T")


@dataclass
class Parts:
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
    precision: Precision
    log: RunLog
    averages: dict[str, Average] = field(default_factory=dict)
    freezing: dict[str, Freezing] = field(default_factory=dict)
    optimizers: dict[str, Optimizer] = field(default_factory=dict)
    schedules: dict[str, Schedule] = field(default_factory=dict)
    callbacks: list[Callback] = field(default_factory=list)
    calls: dict[str, Call] = field(default_factory=dict)
    """The shapes that each model was given in the dry run."""
    stateful: dict[str, OwnState] = field(default_factory=dict)
    """What else changes in training, under the names that its state has in a save."""
    store: CheckpointStore | None = None
    request: StopRequest = field(default_factory=StopRequest)


def sole(kind: str, named: Mapping[str, T], frozen: Collection[str] = ()) -> T:
    """The one model, loss or optimizer there is beside those that are frozen. NotSole if there are several."""
    if len(named) > 1:
        named = {name: one for name, one in named.items() if name not in frozen} or named
    if len(named) > 1:
        raise NotSole(f"works with one {kind}, and there are {listing(named, 'and')}")
    return next(iter(named.values()))


class NotSole(ValueError):
    """A trainer for one model, loss or optimizer was given several."""


def steps_per_epoch(settings: Settings, train: Loader) -> int:
    """Optimizer steps in an epoch: one pass over the data unless the config says otherwise."""
    return settings.trainer.steps_per_epoch or math.ceil(len(train) / settings.trainer.accumulate)
