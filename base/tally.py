"""Means of named losses over samples, kept without a wait for the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

BLOCK = 64
"""Batches whose losses are summed at once: an addition on its own costs as much as a small layer."""


class Tally:
    """Sums of losses in double precision: since the beginning, and since the last `lap`, each with its samples.

    What was added last waits as it is until there are `BLOCK` of it. Sums are taken at fixed numbers of batches alone,
    never because somebody looked or saved: so a resumed run adds in the same order.
    """

    def __init__(self) -> None:
        self.before = _Sums()
        """All but the lap under way."""
        self.lap_sums = _Sums()

    @property
    def count(self) -> int:
        """Samples since the beginning."""
        return self.before.count + self.lap_sums.count

    def add(self, terms: Mapping[str, Tensor], size: int) -> None:
        """Adds the mean losses of a batch of `size` samples."""
        self.lap_sums.add(terms, size)

    def means(self) -> dict[str, float]:
        """Since the beginning. Waits for the device."""
        return _divided(self.before.sums | _added(self.before.sums, self.lap_sums.totals()), self.count)

    def lap(self) -> dict[str, float]:
        """Since the last call. Waits for the device."""
        lap, self.lap_sums = self.lap_sums, _Sums()
        totals = lap.totals()
        self.before.sums |= _added(self.before.sums, totals)
        self.before.count += lap.count
        return _divided(totals, lap.count)

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before.state_dict(), "lap": self.lap_sums.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.before.load_state_dict(state["before"])
        self.lap_sums.load_state_dict(state["lap"])


class _Sums:
    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.waiting: dict[str, tuple[list[Tensor], list[int]]] = {}

    def add(self, terms: Mapping[str, Tensor], size: int) -> None:
        self.count += size
        for name, term in terms.items():
            if name not in self.waiting:
                self.waiting[name] = [], []
            values, sizes = self.waiting[name]
            values.append(term.detach().clone())  # a term may be a parameter, which the optimizer changes in place
            sizes.append(size)
            if len(sizes) == BLOCK:
                self.sums |= _added(self.sums, {name: _weighted(values, sizes)})
                del self.waiting[name]

    def totals(self) -> dict[str, Tensor]:
        """With what waits, and without touching it."""
        return {**self.sums, **_added(self.sums, {n: _weighted(*waiting) for n, waiting in self.waiting.items()})}

    def state_dict(self) -> dict[str, Any]:
        waiting = {name: [torch.stack(values), list(sizes)] for name, (values, sizes) in self.waiting.items()}
        return {"sums": dict(self.sums), "count": self.count, "waiting": waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]
        self.waiting = {name: ([*values.unbind()], list(sizes)) for name, (values, sizes) in state["waiting"].items()}


def widest(tensor: Tensor) -> torch.dtype:
    """float64 where the device has it: a sum of a million float32 losses keeps its digits."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _weighted(values: list[Tensor], sizes: list[int]) -> Tensor:
    losses = torch.stack(values)
    losses = losses.to(widest(losses))
    if min(sizes) == max(sizes):  # nearly always; and the sizes need not go to the device
        return losses.sum() * sizes[0]
    return (losses * torch.tensor(sizes, dtype=losses.dtype, device=losses.device)).sum()


def _added(sums: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sums of the names in `more`."""
    return {name: sums[name] + value if name in sums else value for name, value in more.items()}


def _divided(totals: Mapping[str, Tensor], count: int) -> dict[str, float]:
    return {name: total.item() / count for name, total in totals.items()}
