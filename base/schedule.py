"""Learning-rate schedules of torch.optim, stepped when they mean to be: per step, per epoch, or on a value."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

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


def rates_of(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The learning rate; of several groups each by name or number."""
    groups = [g for optimizer in optimizers for g in optimizer.param_groups]
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', i)}": float(group["lr"]) for i, group in enumerate(groups)}
