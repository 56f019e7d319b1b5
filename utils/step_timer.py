"""How long the phases of a training step take, and whether loading is the bottleneck."""

from __future__ import annotations

import logging
import math
import os
from time import perf_counter

log = logging.getLogger(__name__)

SHARE, SECONDS = 1 / 3, 1.0
"""Data loading is reported as a bottleneck above this share of the step time, once so many seconds were measured."""


class StepTimer:
    """Measures the seconds of each phase on the host. The host runs ahead of an accelerator, so waiting for the device
    counts towards the phase in which the host next waits."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        """Total seconds by phase."""
        self.steps = 0
        self._read: dict[str, float] = {}
        self._steps_read = 0
        self._last = perf_counter()

    def begin(self) -> None:
        """Starts a step; the time before it belongs to no phase."""
        self.steps += 1
        self._last = perf_counter()

    def end(self, phase: str) -> None:
        """Assigns the time since the last call to `phase`."""
        now = perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    def per_step(self) -> dict[str, float]:
        """`system/ms_<phase>`: the mean milliseconds of each phase in a step, since the last call."""
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
        """A message if the model waits for data, else empty. `workers` processes read data; None if it is in memory.

        The estimate assumes that loading divides evenly among workers, which share `cores` with the training process.
        """
        total, waiting = sum(self.seconds.values()), self.seconds.get("data", 0.0)
        if workers is None or total < SECONDS or waiting < SHARE * total:
            return ""
        rest = total - waiting
        loading = waiting if workers == 0 else total * workers
        better = min(max(1, math.ceil(loading / max(rest, 1e-9))), cores)
        share = f"{waiting / total:.0%} of the step time is spent waiting for data"
        if better <= workers:
            return f"{share}; more than {workers} workers would not help on {cores} cores: make samples cheaper to load"
        estimate = max(rest, loading / better, (loading + rest) / cores if workers == 0 else 0.0)
        gain = total / estimate
        change = f"data.loader.num_workers: {better} instead of {workers}"
        return f"{share}; {change} would give about {gain:.1f} times the speed"
