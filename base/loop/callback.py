"""Callbacks observe a run. They never change its numbers: without them the weights are equal bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from base.loop.stopping import Interrupted
from utils.seed import draws_nothing, rng_state, set_rng_state

if TYPE_CHECKING:
    from torch import Tensor


class Callback:
    """Four moments of a run. A subclass defines the ones it needs; the others cost nothing.

    `trainer` is the BaseTrainer that runs. They are called in the order of the config. Random numbers drawn in them do
    not disturb the run. To end the run, call `trainer.stop("why")`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        unknown = [name for name in vars(cls) if name.startswith("on_") and not hasattr(Callback, name)]
        if unknown:
            known = ", ".join(name for name in vars(Callback) if name.startswith("on_"))
            raise TypeError(f"{cls.__name__}.{unknown[0]} would never be called; a callback's moments are: {known}")

    def on_fit_start(self, trainer: Any) -> None:
        """Before the first step of this process; after a resume, too."""

    def on_step_end(self, trainer: Any, terms: Mapping[str, Tensor]) -> None:
        """After each optimizer step. `terms` are the last batch's losses, still on the device."""

    def on_epoch_end(self, trainer: Any, row: Mapping[str, Any]) -> None:
        """After the epoch's validation. `row` is the line that goes to metrics.jsonl."""

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        """Once, however the run ended: finished, early_stop, max_time, signal, not_finite or error."""


class Callbacks:
    """The callbacks of a run: each moment's list holds only those that define it, so the others cost nothing."""

    def __init__(self, callbacks: Iterable[Callback], trainer: Any) -> None:
        moments = [name for name in vars(Callback) if name.startswith("on_")]
        self.hooks = {
            moment: [
                partial(getattr(callback, moment), trainer)
                for callback in callbacks
                if getattr(type(callback), moment) is not getattr(Callback, moment)
            ]
            for moment in moments
        }
        every = (hook for hooks in self.hooks.values() for hook in hooks)
        self._may_draw = {id(hook) for hook in every if not draws_nothing(hook.func)}

    def call(self, moment: str, *values: Any) -> None:
        """A callback may draw random numbers; the run does not notice. One that evaluates is left if somebody asks the
        run to end."""
        for hook in self.hooks[moment]:
            state = rng_state() if id(hook) in self._may_draw else None  # which costs as much as a small step
            with suppress(Interrupted):
                hook(*values)
            if state is not None:
                set_rng_state(state)
