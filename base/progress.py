"""Where a run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = ("train", "evaluate", "validate", "epoch end")


@dataclass
class Progress:
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
