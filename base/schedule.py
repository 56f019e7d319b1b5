"""Learning-rate schedules of torch.optim, stepped when they mean to be: per step, per epoch, or on a value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau


@dataclass(frozen=True)
class Link:
    """One scheduler of a chain, stepped `every` step, epoch or monitor evaluation, for `steps` of those (None: to the
    end)."""

    make: Callable[[Optimizer], LRScheduler]
    every: str
    steps: int | None = None


class Schedule:
    """A chain of schedulers, each taking over where the one before ends; an empty chain leaves the rate alone.

    A link's scheduler is made when its turn comes, from the rate that the optimizer was given at first: so a warm-up
    does not change what follows it. torch's SequentialLR does the same for links that all step in one unit.
    """

    def __init__(self, optimizer: Optimizer, links: Sequence[Link] = ()) -> None:
        self.optimizer = optimizer
        self.links = list(links)
        self._take_over(0)

    def after_step(self) -> None:
        self._advance("step")

    def after_epoch(self) -> None:
        self._advance("epoch")

    def after_evaluation(self, value: float) -> None:
        """`value` is the monitored one."""
        self._advance("monitor", value)

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
            assert value is not None
            self.scheduler.step(value)
        else:
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        scheduler = self.scheduler.state_dict() if self.scheduler else None
        return {"current": self.current, "done": self.done, "scheduler": scheduler}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Before the optimizer's own state is loaded, which holds the rate of the moment."""
        if state["current"] != self.current:  # else the scheduler stays, which a trainer of the user's may hold
            self._take_over(state["current"])
        self.done = state["done"]
        if self.scheduler:
            self.scheduler.load_state_dict(state["scheduler"])


def rates_of(optimizers: Iterable[Optimizer]) -> dict[str, float]:
    """The learning rate; of several groups each by name or number."""
    groups = [g for optimizer in optimizers for g in optimizer.param_groups]
    if len(groups) == 1:
        return {"lr": float(groups[0]["lr"])}
    return {f"lr/{group.get('name', i)}": float(group["lr"]) for i, group in enumerate(groups)}
