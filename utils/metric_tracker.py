"""Means of named numbers, fed one by one: pytorch-template's MetricTracker, without pandas."""

from __future__ import annotations

from typing import Any


class MetricTracker:
    """Each number counts `n` times; `writer`, if there is one, is told of each as it comes."""

    def __init__(self, *keys: str, writer: Any = None) -> None:
        self.writer = writer
        self.sums: dict[str, float] = dict.fromkeys(keys, 0.0)
        self.counts: dict[str, int] = dict.fromkeys(keys, 0)

    def reset(self) -> None:
        self.sums, self.counts = dict.fromkeys(self.sums, 0.0), dict.fromkeys(self.counts, 0)

    def update(self, key: str, value: Any, n: int = 1) -> None:
        """A number or a tensor of one; a key that was not named before is taken up."""
        if self.writer is not None:
            self.writer.add_scalar(key, value)
        self.sums[key] = self.sums.get(key, 0.0) + float(value) * n
        self.counts[key] = self.counts.get(key, 0) + n

    def avg(self, key: str) -> float:
        """The mean since the last reset; 0 before the first update."""
        return self.sums[key] / self.counts[key] if self.counts[key] else 0.0

    def result(self) -> dict[str, float]:
        return {key: self.avg(key) for key in self.sums}
