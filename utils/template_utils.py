"""MetricTracker and inf_loop, as pytorch-template has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from utils.seed import rng_state, set_rng_state


class MetricTracker:
    """Running means by name; each update counts `n` times and is also written to `writer`, if there is one."""

    def __init__(self, *keys: str, writer: Any = None) -> None:
        self.writer = writer
        self.sums: dict[str, float] = dict.fromkeys(keys, 0.0)
        self.counts: dict[str, int] = dict.fromkeys(keys, 0)

    def reset(self) -> None:
        self.sums, self.counts = dict.fromkeys(self.sums, 0.0), dict.fromkeys(self.counts, 0)

    def update(self, key: str, value: Any, n: int = 1) -> None:
        """Adds a number or a tensor of one element; a new key is added."""
        if self.writer is not None:
            self.writer.add_scalar(key, value)
        self.sums[key] = self.sums.get(key, 0.0) + float(value) * n
        self.counts[key] = self.counts.get(key, 0) + n

    def avg(self, key: str) -> float:
        """The mean since the last reset; 0 before the first update."""
        return self.sums[key] / self.counts[key] if self.counts[key] else 0.0

    def result(self) -> dict[str, float]:
        return {key: self.avg(key) for key in self.sums}


class InfiniteLoader:
    """Iterates over a loader without end, pass after pass; a new `for` loop continues where the last one stopped.

    RuntimeError if the loader is exhausted after a pass.

    Its state is the number of batches taken from a pass and the generators' states at the start of that pass. A
    resumed run finds its place in a shuffled pass by reading up to it.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader
        self._batches: Iterator[Any] | None = None
        self._begun: Any = None
        self._taken = 0
        self._went_round = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._begun, self._taken = rng_state(), 0
            self._batches = iter(self.loader)
        try:
            batch = next(self._batches)
        except StopIteration:
            if not self._taken and not self._went_round:
                raise
            if not self._taken:
                hint = "return a fresh iterator from its __iter__ each time"
                raise RuntimeError(f"{type(self.loader).__name__} gave no batch after its first pass: {hint}") from None
            self._batches, self._went_round = None, True
            return next(self)
        self._taken += 1
        return batch

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["loader"], name)

    def state_dict(self) -> dict[str, Any]:
        return {"begun": self._begun, "taken": self._taken} if self._batches is not None else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._batches = None
        if state:
            now = rng_state()
            set_rng_state(state["begun"])
            for _ in range(state["taken"]):
                next(self)
            set_rng_state(now)


inf_loop = InfiniteLoader
"""pytorch-template's name for it."""
