"""The plugin with which the project is measured: callbacks that write stamps, and the benchmark's own models."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base import CALLBACKS, Callback
from base.checkpoint.restore import restore
from benchmarks import models as models
from benchmarks.data import stamp_end
from benchmarks.job import stamp

if TYPE_CHECKING:
    from torch import Tensor

    from base.loop.base_trainer import BaseTrainer


@CALLBACKS.register
class StampEpochs(Callback):
    """Stamps each epoch with its evaluation, and then `evaluations` further evaluations."""

    def __init__(self, data: str, evaluations: int = 0) -> None:
        self.data, self.evaluations = data, evaluations

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        stamp("epoch")

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        for _ in range(self.evaluations):
            stamp("evaluate")
            scores = trainer.evaluate(trainer.data.valid[""], "valid")
            stamp("evaluated", loss=scores["loss"])
        stamp_end(trainer.model, self.data)


@CALLBACKS.register
class StampSteps(Callback):
    """Stamps each step. This is a separate callback, because a call at every step has a cost."""

    def on_step_end(self, trainer: BaseTrainer, terms: Mapping[str, Tensor]) -> None:
        stamp("step")


@CALLBACKS.register
class StampSaves(Callback):
    """Saves while nothing else runs, and measures how long the loop waits, how long until everything is on the disk,
    and how long loading takes."""

    def on_step_end(self, trainer: BaseTrainer, terms: Mapping[str, Tensor]) -> None:
        assert trainer.store is not None
        trainer.store.join()
        before = time.perf_counter()
        trainer.save()
        blocked = time.perf_counter() - before
        trainer.store.join()
        stamp("saved", blocked=blocked, saved=time.perf_counter() - before)

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        assert trainer.store is not None
        trainer.store.join()
        before = time.perf_counter()
        restore(trainer, trainer.store.load("last"))
        stamp("loaded", load=time.perf_counter() - before)
