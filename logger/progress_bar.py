"""How far a phase has come: a bar on a terminal, a plain line now and then elsewhere. Both are drawn by the clock."""

from __future__ import annotations

import logging
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from time import monotonic
from typing import ClassVar

from utils.figures import duration, number

Read = Callable[[], Mapping[str, float]]
log = logging.getLogger(__name__)


def progress(verbosity: int) -> Progress:
    """Bars if stderr is a terminal that can redraw a line, else lines; nothing below verbosity 2."""
    if verbosity < 2:
        return NullProgress()
    return Progress(Bar if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines)


class Progress:
    """The phases under way: an evaluation inside a training epoch is one within another."""

    def __init__(self, kind: type[Phase]) -> None:
        self._kind = kind
        self._phases: list[Phase] = []
        self._epoch_seconds: float | None = None

    def begin(self, title: str, total: int, start: int = 0) -> None:
        """`total` batches follow, the first `start` of them are done already. `train 3/10` is an epoch of several."""
        phase = self._kind(title, total, start)
        if epoch := re.fullmatch(r"train (\d+)/(\d+)", title):
            phase.epochs_after, phase.epoch_seconds = int(epoch[2]) - int(epoch[1]), self._epoch_seconds
        self._phases.append(phase)

    def end_epoch(self, seconds: float) -> None:
        """How long the last epoch took, with its validation: the pace at which those to come are reckoned."""
        self._epoch_seconds = seconds

    def advance(self, read: Read) -> None:
        """One more batch is done. `read` gives the running values; it is called only when they are drawn."""
        phase = self._phases[-1]
        phase.count += 1
        if monotonic() >= phase.due:
            phase.draw(read())
            phase.due = monotonic() + phase.every

    def end(self) -> None:
        self._phases.pop().close()

    def close(self) -> None:
        """Ends what an error has left open."""
        while self._phases:
            self.end()


class NullProgress(Progress):
    """Draws nothing."""

    def __init__(self) -> None: ...
    def begin(self, title: str, total: int, start: int = 0) -> None: ...
    def end_epoch(self, seconds: float) -> None: ...
    def advance(self, read: Read) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class Phase(ABC):
    """Is drawn when `every` seconds have passed since the last time; a shorter one is not drawn at all."""

    every: ClassVar[float]

    def __init__(self, title: str, total: int, start: int) -> None:
        self.title, self.total, self.start = title, total, start
        self.count = start
        self.begun = monotonic()
        self.due = self.begun + self.every
        self.epochs_after = 0
        self.epoch_seconds: float | None = None

    def left(self) -> str:
        """`1.2 s left`, and of an epoch `1.2 s left, run 14 s`."""
        pace = (monotonic() - self.begun) / (self.count - self.start)
        here = (self.total - self.count) * pace
        if not self.epochs_after:
            return f"{duration(here)} left"
        after = self.epochs_after * (self.epoch_seconds or self.total * pace)
        return f"{duration(here)} left, run {duration(here + after)}"

    @abstractmethod
    def draw(self, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Lines(Phase):
    every = 30.0

    def draw(self, values: Mapping[str, float]) -> None:
        done = f"{self.count:{len(str(self.total))}}/{self.total}"
        log.info("  ".join([self.title, done, *spelled(values), self.left()]))

    def close(self) -> None:
        """A line needs no end."""


class Bar(Phase):
    every = 0.5
    delay = 0.4
    """Else tqdm draws an empty bar at once."""

    def __init__(self, title: str, total: int, start: int) -> None:
        from tqdm import tqdm

        super().__init__(title, total, start)
        # No thread of tqdm's and no opinion of its own on when to draw: Progress has the clock.
        tqdm.monitor_interval = 0
        self.bar = tqdm(
            desc=title,
            total=total,
            bar_format="{desc}  {percentage:3.0f}% |{bar:10}| {n_fmt}/{total_fmt}{postfix}",
            leave=False,
            dynamic_ncols=True,
            delay=self.delay,
            mininterval=0,
            miniters=0,
        )

    def draw(self, values: Mapping[str, float]) -> None:
        self.bar.set_postfix_str(", ".join([self.left(), *spelled(values)]), refresh=False)
        self.bar.update(self.count - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def spelled(values: Mapping[str, float]) -> list[str]:
    """`loss 0.4321`, `accuracy 0.8702`"""
    return [f"{name} {number(value)}" for name, value in values.items()]
