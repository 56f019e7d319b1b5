"""A loader read over and over, for epochs that are shorter or longer than a pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from utils.seed import rng_state, set_rng_state


def inf_loop(data_loader: Iterable[Any]) -> Endless:
    """pytorch-template's name for `Endless`."""
    return Endless(data_loader)


class Endless:
    """Goes on where it stands whenever it is iterated, through one pass after another.

    RuntimeError if the loader is exhausted after a pass.

    Its state is how many batches of a pass are taken and the generators' states as the pass began: so its place in a
    shuffled pass is found again by reading up to it.
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
