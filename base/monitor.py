"""One concept for "is this the best so far" and "is it time to give up"."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Monitor:
    """Watches one logged value. Strictly better than all before is best, by however little; `patience` counts the
    evaluations since it was better by more than `min_delta` than when the count last began. NaN is never better.
    """

    name: str = ""
    """What is watched, e.g. `val_loss`; empty: nothing is, and every evaluation counts as the best."""
    mode: str = "min"
    patience: int | None = None
    min_delta: float = 0.0
    best: float | None = None
    best_epoch: int | None = None
    reference: float | None = None
    waited: int = 0

    def update(self, row: Mapping[str, Any]) -> bool:
        """True if `row` holds the best value so far; a row without the value is passed over."""
        if self.name not in row:
            return False
        value = float("nan") if row[self.name] is None else float(row[self.name])
        improved = self._better(value, self.best, 0.0)
        if improved:
            self.best, self.best_epoch = value, row.get("epoch")
        if self._better(value, self.reference, self.min_delta):
            self.reference, self.waited = value, 0
        else:
            self.waited += 1
        return improved

    def _better(self, value: float, than: float | None, by: float) -> bool:
        if math.isnan(value):
            return False
        if than is None:
            return True
        return value < than - by if self.mode == "min" else value > than + by

    @property
    def exhausted(self) -> bool:
        return self.patience is not None and self.waited >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return asdict(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Only what was measured: name, mode and patience are the config's."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.reference, self.waited = state["reference"], state["waited"]
