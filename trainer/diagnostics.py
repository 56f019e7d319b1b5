"""Callbacks that show what happens inside a model, and the profiler."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base.errors import writing
from base.loop.callback import Callback
from base.registry import CALLBACKS
from trainer.images import Periodic

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from base.loop.base_trainer import BaseTrainer

log = logging.getLogger(__name__)


@CALLBACKS.register
class Histograms(Periodic):
    """Histograms `weights/<parameter>` at the end of every `every` epochs, and `gradients/<parameter>` of the epoch's
    last step as the optimizer gets them, after clipping."""

    def __init__(self, every: int = 1) -> None:
        super().__init__(every)
        self._handles: list[Any] = []

    def on_fit_start(self, trainer: BaseTrainer) -> None:
        for optimizer in trainer.optimizers.values():
            self._handles.append(optimizer.register_step_pre_hook(lambda one, *_: self._gradients(trainer, one)))

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def report(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        for name, parameter in parameters(trainer).items():
            trainer.log.writer.add_histogram(f"weights/{name}", parameter.detach(), row["step"])

    def _gradients(self, trainer: BaseTrainer, optimizer: Optimizer) -> None:
        progress = trainer.progress
        if progress.epoch_step + 1 < trainer.steps_per_epoch or not self.is_due(trainer, progress.epoch):
            return
        own = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for name, parameter in parameters(trainer).items():
            if id(parameter) in own and parameter.grad is not None:
                trainer.log.writer.add_histogram(f"gradients/{name}", parameter.grad, progress.step + 1)


@CALLBACKS.register
class DeadUnits(Periodic):
    """Logs `dead_units/<layer>`: the share of units behind each ReLU whose output is 0 for every sample of the first
    validation batch, at every position of a feature map. They pass no gradient on."""

    def report(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        from torch import nn

        from base.evaluation.predictions import watch_layers

        loader = self.validation(trainer)
        if loader is None:
            return
        shares: dict[str, float] = {}

        def note(name: str, layer: nn.Module, input: Any, output: Tensor) -> None:
            alive = (output != 0).transpose(0, 1).flatten(1).any(1)
            shares[name] = 1 - alive.float().mean().item()

        watch_layers(trainer, loader, (nn.ReLU, nn.ReLU6), note)
        if not shares:
            return self.warn_once("the model has no ReLU layer")
        for name, share in shares.items():
            trainer.log.writer.add_scalar(f"dead_units/{name}", share, row["step"])


@CALLBACKS.register
class Gap(Callback):
    """Logs `gap/<quantity>`: the validation value minus the training value, for each quantity that has both. A growing
    gap indicates overfitting. A gap from the first epoch on may come from dropout and augmentation, which validation
    does not use."""

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if isinstance(value, float) and isinstance(row.get(f"val_{name}"), float):
                trainer.log.writer.add_scalar(f"gap/{name}", row[f"val_{name}"] - value, row["step"])


@CALLBACKS.register
class ModelGraph(Callback):
    """Logs the graph of every model that is evaluated, with nested layers, once at the start of a run."""

    def on_fit_start(self, trainer: BaseTrainer) -> None:
        from utils.model_summary import trace

        if trainer.progress.step:
            return
        nodes = []
        for name, call in trainer.parts.calls.items():
            try:
                nodes += trace(trainer.models[name], call, name)
            except Exception as error:  # the trace has shapes only, and a model may need values
                log.warning("ModelGraph shows nothing of %s: %s: %s", name, type(error).__name__, error)
        if nodes:
            trainer.log.writer.add_graph(nodes)


def parameters(trainer: BaseTrainer) -> dict[str, nn.Parameter]:
    """The parameters of all models by name; if there are several models, their names are prefixes."""
    several = len(trainer.models) > 1
    return {
        f"{model_name}.{name}" if several else name: parameter
        for model_name, model in trainer.models.items()
        for name, parameter in model.named_parameters()
    }


@CALLBACKS.register
class Profile(Callback):
    """Profiles `steps` steps after the first `skip` steps of this process. Writes into the run's folder `profile/` a
    trace for https://ui.perfetto.dev or TensorBoard's profiler, and a table of the slowest operations.

    Profiled steps are slower than others; their numbers are the same.
    """

    WARM_UP = 2
    """Steps that are recorded and discarded, because the profiler is slow in its first steps."""

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
        # Otherwise the profiler's library logs its activity to stderr, and a missing GPU as an error.
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
