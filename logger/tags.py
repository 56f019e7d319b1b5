"""How the names of a row are called in TensorBoard, and which of them share a chart."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

PLACE = ("epoch", "step", "phase")
CLOCK = ("seconds", "samples_per_second")


class Tags:
    """`metrics` and `valid_sets` are the names a run knows: without them `val_night_loss` could mean two things."""

    def __init__(self, metrics: Sequence[str] = (), valid_sets: Sequence[str] = ()) -> None:
        self.quantities = ("loss", *metrics)
        self.valid_sets = sorted(filter(None, valid_sets), key=len, reverse=True)

    def of_row(self, row: Mapping[str, Any]) -> dict[str, float]:
        """Tag and value of every number of an epoch; lr and gradient norm are left to `of_step`."""
        return {
            self.tag(name): value
            for name, value in row.items()
            if isinstance(value, int | float) and name not in PLACE and not belongs_to_steps(name)
        }

    def of_step(self, values: Mapping[str, float]) -> dict[str, float]:
        """Tag and value of what is logged between epoch ends; a loss of one step is no mean over an epoch."""
        return {name if belongs_to_steps(name) else f"{name}/step": value for name, value in values.items()}

    def tag(self, name: str) -> str:
        """`val_accuracy` -> `accuracy/val`, `val_night_loss` -> `loss/val_night`, `seconds` -> `system/seconds`"""
        if name in CLOCK:
            return f"system/{name}"
        split, _, quantity = name.partition("_")
        if split == "test" and quantity:
            return f"{quantity}/test"
        if split != "val" or not quantity:
            return f"{name}/train"
        for valid_set in () if quantity in self.quantities else self.valid_sets:
            if quantity.startswith(f"{valid_set}_"):
                return f"{quantity.removeprefix(f'{valid_set}_')}/val_{valid_set}"
        return f"{quantity}/val"

    def charts(self) -> dict[str, dict[str, list[Any]]]:
        """The custom scalars layout: training and validation of a quantity on one chart. Tags are patterns there."""
        patterns = {name: [f"{re.escape(name)}/train$", f"{re.escape(name)}/val"] for name in self.quantities}
        return {"train and val": {name: ["Multiline", pattern] for name, pattern in patterns.items()}}


def belongs_to_steps(name: str) -> bool:
    return name.partition("/")[0] in ("lr", "grad_norm", "system")
