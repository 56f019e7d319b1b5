"""How long the phases of a training step take, and whether loading is the bottleneck."""

from __future__ import annotations

import logging
import math
import os
from time import perf_counter

log = logging.getLogger(__name__)

SHARE, SECONDS = 1 / 3, 1.0
"""Loading is called a bottleneck from this share of a step on, and after this time of looking."""


class StepTimer:
    """Seconds by phase. On an accelerator they are those of the host, which runs ahead of it: the wait for the device
    counts where the host next waits."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Since the beginning."""
        self.steps = 0
        self._read: dict[str, float] = {}
        self._steps_read = 0
        self._last = perf_counter()

    def begin(self) -> None:
        """A step begins; what went before it belongs to no phase."""
        self.steps += 1
        self._last = perf_counter()

    def end(self, phase: str) -> None:
        """The time since the last call was spent on this."""
        now = perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def per_step(self) -> dict[str, float]:
        """`system/ms_<phase>`: milliseconds of a step, the mean since the last reading."""
        steps = self.steps - self._steps_read
        means = {
            f"system/ms_{phase}": 1000 * (total - self._read.get(phase, 0.0)) / steps
            for phase, total in self.seconds.items()
        }
        self._read, self._steps_read = dict(self.seconds), self.steps
        return means

    def tell_bottleneck(self, workers: int | None) -> None:
        if words := self.bottleneck(workers, os.cpu_count() or 1):
            log.info("%s", words)

    def bottleneck(self, workers: int | None, cores: int) -> str:
        """In words, if reading data keeps the model waiting; `workers` processes read it, None if none has to.

        The estimate takes it that loading divides evenly among workers, and that all share `cores`.
        """
        total, waiting = sum(self.seconds.values()), self.seconds.get("data", 0.0)
        if workers is None or total < SECONDS or waiting < SHARE * total:
            return ""
        rest = total - waiting
        loading = waiting if workers == 0 else total * workers
        better = min(max(1, math.ceil(loading / max(rest, 1e-9))), cores)
        told = f"{waiting / total:.0%} of a step waits for data"
        if better <= workers:
            return f"{told}; {workers} workers are as many as help on {cores} cores: look at what a sample costs"
        estimate = max(rest, loading / better, (loading + rest) / cores if workers == 0 else 0.0)
        gain = total / estimate
        change = f"data.loader.num_workers: {better} instead of {workers}"
        return f"{told}; {change} would give about {gain:.1f} times the speed"
