"""Where the time of a step goes, operation by operation: torch.profiler as a callback; `--profile` adds it to a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base.base_callback import Callback
from base.errors import writing
from base.registry import CALLBACKS

if TYPE_CHECKING:
    from torch import Tensor

    from base.base_trainer import BaseTrainer

log = logging.getLogger(__name__)


@CALLBACKS.register
class Profile(Callback):
    """Records `steps` steps after the first `skip` of this process, into the folder `profile/` of the run: a trace that
    https://ui.perfetto.dev and TensorBoard's profiler open, and a table of the operations that took longest.

    Recorded steps are slower than others; their numbers are the same.
    """

    WARM_UP = 2
    """Steps that are recorded and thrown away: the profiler itself is slow in its first."""

    def __init__(self, skip: int = 10, steps: int = 10) -> None:
        if skip < 0 or steps < 1:
            raise ValueError(f"Profile: skip must be 0 or more and steps 1 or more, found {skip} and {steps}")
        self.skip, self.steps = skip, steps
        self._profiler: Any = None
        self._seen = 0

    def on_step_end(self, trainer: BaseTrainer, terms: Mapping[str, Tensor]) -> None:
        self._seen += 1
        if self._seen == self.skip + 1:
            self._start()
        elif self._profiler is not None:
            self._profiler.step()
            if self._seen == self.skip + 1 + self.WARM_UP + self.steps:
                self._finish(trainer)

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        if self._profiler is not None:
            self._finish(trainer)
        elif self._seen <= self.skip:
            log.warning("nothing was profiled: the run took %d steps, %d are skipped", self._seen, self.skip)

    def _start(self) -> None:
        # Its library tells its own doings, and as an error that there is no GPU, right into stderr.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
        import torch
        from torch.profiler import ProfilerActivity, profile, schedule

        activities = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * torch.cuda.is_available()]
        when = schedule(wait=0, warmup=self.WARM_UP, active=self.steps, repeat=1)
        self._profiler = profile(activities=activities, schedule=when, acc_events=True)
        self._profiler.start()

    def _finish(self, trainer: BaseTrainer) -> None:
        profiler, self._profiler = self._profiler, None
        profiler.stop()
        if trainer.store is None or self._seen <= self.skip + 1 + self.WARM_UP:
            return
        last = trainer.progress.step
        folder = trainer.store.folder.parent / "profile"
        with writing(folder):
            folder.mkdir(exist_ok=True)
            profiler.export_chrome_trace(str(folder / f"to-step-{last:08d}.pt.trace.json"))
            table = profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=20)
            (folder / f"to-step-{last:08d}.txt").write_text(table, encoding="utf-8")
        log.info("profiled: %s; https://ui.perfetto.dev opens the trace", folder)
