"""Where a run stands: counters and the monitored value."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from utils.formatting import pluralize

PHASES = ("train", "evaluate", "validate", "epoch end")


@dataclass
class TrainState:
    """Plain numbers from which order, augmentation and the rest of the run follow."""

    epoch: int = 1
    """The epoch under way, from 1."""
    step: int = 0
    """Optimizer steps done."""
    epoch_step: int = 0
    """Optimizer steps done in this epoch."""
    pass_: int = 0
    """Passes over the training data completed; more or fewer than epochs with `trainer.steps_per_epoch`."""
    batch: int = 0
    """Batches taken in this pass."""
    phase: str = "train"
    """What comes next, one of PHASES: `train` at `batch`, `evaluate` inside the epoch, `validate`, or `epoch end` (the
    epoch is logged; the next one begins)."""
    epoch_seconds: float = 0.0
    """Time spent on this epoch, in seconds."""
    train_seconds: float = 0.0
    """The part of it before the epoch's validation."""
    rates: dict[str, float] = field(default_factory=dict)
    """The learning rates that the last step was taken with; empty before the first."""
    seconds: float = 0.0
    """Time spent training and validating, over all processes that worked on the run."""

    def next_step(self, rates: dict[str, float]) -> None:
        """A step was taken, with these learning rates by name."""
        self.step, self.epoch_step, self.rates = self.step + 1, self.epoch_step + 1, rates

    def next_epoch(self) -> None:
        self.epoch, self.epoch_step, self.epoch_seconds, self.phase = self.epoch + 1, 0, 0.0, "train"

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


def due(count: int, every: int | None) -> bool:
    return every is not None and count % every == 0


log = logging.getLogger(__name__)


@dataclass
class Monitor:
    """Watches one logged value. Strictly better than all before is best, by however little; `patience` counts the
    evaluations since it was better by more than `min_delta` than when the count last began. A value that is not finite
    is never better; the first one is told.
    """

    name: str = ""
    """What is watched, e.g. `val_loss`; empty: nothing is, and no save is marked as the best."""
    mode: str = "min"
    patience: int | None = None
    min_delta: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    reference: float | None = None
    waited: int = 0
    not_finite: int = 0
    """How many of the evaluations waited for were not finite."""
    told: bool = False
    """A value that was not finite has been told of."""

    def update(self, row: Mapping[str, Any]) -> bool:
        """True if `row` holds the best value so far; a row without the value is passed over."""
        if self.name not in row:
            return False
        value = float("nan") if row[self.name] is None else float(row[self.name])
        if not math.isfinite(value):
            self._tell(value, row)
        improved = self._better(value, self.best, 0.0)
        if improved:
            self.best, self.best_epoch = value, row.get("epoch")
        if self._better(value, self.reference, self.min_delta):
            self.reference, self.waited, self.not_finite = value, 0, 0
        else:
            self.waited += 1
            self.not_finite += not math.isfinite(value)
        return improved

    def _tell(self, value: float, row: Mapping[str, Any]) -> None:
        if not self.told:
            what = f"{self.name} is {value} in epoch {row.get('epoch')}, at step {row.get('step')}"
            log.warning("%s: a monitored value that is not finite never counts as better", what)
        self.told = True

    def _better(self, value: float, than: float | None, by: float) -> bool:
        if not math.isfinite(value):
            return False
        if than is None:
            return True
        return value < than - by if self.mode == "min" else value > than + by

    @property
    def ending(self) -> str:
        """How a run ends that is stopped early."""
        if not self.not_finite:
            return "stopped early"
        evaluations = pluralize(self.waited, "evaluation")
        return f"stopped early, {self.name} was not finite in {self.not_finite} of the last {evaluations}"

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Only what was measured: name, mode and patience are the config's."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.reference, self.waited = state["reference"], state["waited"]
        self.not_finite, self.told = state.get("not_finite", 0), state.get("told", False)
