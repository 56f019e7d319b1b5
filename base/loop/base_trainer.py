"""The one loop. It owns everything that changes a number or must survive a restart, in one fixed order:

    for each epoch:
        for each window of `accumulate` batches:
            train_step and backward for each batch, clip, optimizer step, schedule
            now and then: log, evaluate, save
        evaluate the validation sets, schedule, log the row, is it the best, save

A subclass says what happens with a batch (`train_step`, `eval_step`); callbacks only watch.
"""

from __future__ import annotations

import copy
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import closing
from functools import cached_property
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.checkpoint.component_state import ComponentStates
from base.checkpoint.state import content_of, load_weights, put_back_if_interrupted, states_of
from base.errors import NotFiniteError
from base.loop.callback import Callbacks
from base.loop.components import StepsInsideWindow, TrainerComponents, one_number_each, only_one, steps_per_epoch
from base.loop.counts import Terms, Window, checked
from base.loop.metrics import LossMeans, MetricCollection, Observer
from base.loop.nan_guard import NonFiniteGuard, clear, prepare
from base.loop.optim import follow, learning_rates_of, set_mode, told
from base.loop.stopping import Ending, Interrupted, batches_of
from base.loop.train_state import Monitor, TrainState, due
from base.protocols import Loader, batches_in
from utils.batches import size_of
from utils.seed import fold_in, seed_everything
from utils.step_timer import StepTimer


class BaseTrainer(ABC):
    """The life of a run between its first step and its last."""

    def __init__(self, parts: TrainerComponents) -> None:
        if hasattr(self, "_train_epoch"):  # nobody would call it
            raise TypeError(f"{type(self).__name__} has both train_step and _train_epoch, expected one of them")
        before = set(vars(self))
        self.parts = parts
        self.settings = settings = parts.settings.trainer
        self.keys = parts.settings.data.keys
        self.device, self.data, self.log, self.store = parts.device, parts.data, parts.log, parts.store
        self.models, self.optimizers, self.schedules = parts.models, parts.optimizers, parts.schedules
        self.criteria, self.precision, self.request = parts.criteria, parts.precision, parts.request
        self.eval_metrics = MetricCollection(parts.metrics)
        self.metrics = self.train_metrics = MetricCollection(copy.deepcopy(parts.metrics))
        """The metrics of the phase under way."""
        self.precision.prepare([*self.models.values(), *self.criteria.values()])
        mode, name = settings.monitor.split() if settings.monitor else ("min", "")
        self.monitor = Monitor(name, mode, settings.early_stop, settings.min_delta)
        self.guard = NonFiniteGuard(settings.non_finite, settings.max_skipped, deferred=self.device.type != "cpu")
        self.progress = TrainState()
        self.epochs = settings.epochs
        self.steps_per_epoch = steps_per_epoch(parts.settings, parts.data.train)
        self.loss_means = LossMeans()
        """Training losses since the epoch began, and since they were last logged."""
        self.times = StepTimer()
        self.grad_norm: Tensor | None = None
        self._stop_reason = ""
        self._windows: Iterator[list[Any]] = iter(())
        self._clock = self._last_save = time.monotonic()
        self._loops_own = vars(self).keys() - before

    @property
    def model(self) -> nn.Module:
        return only_one("model", self.models, self.parts.frozen)

    @property
    def criterion(self) -> Callable[..., Any]:
        return only_one("loss", self.criteria)

    @property
    def optimizer(self) -> Optimizer:
        return only_one("optimizer", self.optimizers)

    @property
    def evaluated(self) -> dict[str, nn.Module]:
        """The models that are evaluated and kept: the averages, if there are any."""
        return {**self.parts.models, **{name: average.module for name, average in self.parts.averages.items()}}

    @cached_property
    def states(self) -> ComponentStates:
        """What changes in training beside what the loop itself keeps."""
        return states_of(self, self, self._loops_own)

    @abstractmethod
    def train_step(self, batch: Any) -> dict[str, Tensor]:
        """Named mean losses of one batch; `loss` is the one that is learned from, the others are logged."""

    @abstractmethod
    def eval_step(self, batch: Any) -> dict[str, Tensor]:
        """The same for evaluation: models are in eval mode, gradients are off."""

    def count(self, batch: Any) -> Any:
        """What the mean losses of a batch are means over, asked before its step: a number from 0 on, by default its
        samples, or one for each of the named losses that `loss` is the sum of."""
        return size_of(batch)

    def optimizer_step(self) -> None:
        """Applies the gradients, unscaled and clipped by now. `precision.step` skips those that overflowed in fp16."""
        for optimizer in self.optimizers.values():
            self.precision.step(optimizer)

    def stop(self, reason: str) -> None:
        """Ends the run after the step under way, saved and resumable."""
        self._stop_reason = reason

    def fit(self) -> str:
        """Trains to the end. Returns why it ended: finished, early_stop, max_time, signal, or what `stop` was given."""
        self._clock = self._last_save = time.monotonic()
        self.callbacks = Callbacks(self.parts.callbacks, self)
        with (
            self.request.listening(),
            closing(self._all_windows()) as self._windows,  # a loader left to the garbage collector waits 5 s a worker
            Ending(self.callbacks.hooks["on_fit_end"], self.store, self.log) as ending,
        ):
            assert self.states  # as everything was made, or was restored
            self.callbacks.call("on_fit_start")
            if not self.progress.step:
                self.guard.exempt_buffers(self.models)
            if self.store is not None and not self.store.names():
                self.save()
            ending.reason = self._loop()
            if self.settings.test_at_end and ending.reason in ("finished", "early_stop"):
                self._test()
        return ending.reason

    def _loop(self) -> str:
        progress = self.progress
        while not (reason := self._over()):
            if progress.phase in ("train", "evaluate"):
                self._run_epoch()
            if progress.phase == "validate":
                self._end_epoch()
            if progress.phase == "epoch end":
                progress.next_epoch()
        if reason not in ("finished", "early_stop"):
            self.save()
        return reason

    def _over(self) -> str:
        """Why the run is over; empty while it is not."""
        if self.progress.phase == "train" and self.progress.epoch_step == 0:
            if self.progress.epoch > self.epochs:
                return "finished"
            if self.monitor.exhausted:
                return "early_stop"
        return self._interrupted()

    def _interrupted(self) -> str:
        """Why to stop right here, between two steps; empty to go on."""
        if self.request.asked():
            return "signal"
        limit = self.settings.max_time
        if limit is not None and self.progress.seconds + time.monotonic() - self._clock > limit:
            return "max_time"
        return self._stop_reason

    def _run_epoch(self) -> None:
        progress = self.progress
        if progress.epoch_step == 0:
            self._begin_epoch()
        self._set_mode(training=True)
        self.log.begin_phase(f"train {progress.epoch}/{self.epochs}", self.steps_per_epoch, progress.epoch_step)
        while True:
            if progress.phase == "evaluate":
                self._evaluate_inside_epoch()
            if self._interrupted() or progress.epoch_step >= self.steps_per_epoch:
                break
            self.times.begin()
            try:
                window = next(self._windows)
            except Interrupted:
                break
            self.times.end("data")
            terms = self._train_window(window)
            for schedule in self.schedules.values():
                schedule.after_step()
            self.log.advance(self.loss_means.means)
            self.callbacks.call("on_step_end", terms)
            if self._log_due(progress.epoch_step):
                self._log_step()
            if due(progress.step, self.settings.validate_every.steps):
                progress.phase = "evaluate"
            elif self._save_due():
                self.save()
        self.log.end_phase()
        if progress.phase == "train" and progress.epoch_step >= self.steps_per_epoch:
            self._tick()
            progress.phase, progress.train_seconds = "validate", progress.epoch_seconds
            if self.times.steps == self.steps_per_epoch:  # a whole epoch, the first of this process
                self.times.tell_bottleneck(self.data.train.workers)

    def _begin_epoch(self) -> None:
        """All generators start afresh from (seed, epoch), so that an epoch does not depend on the ones before."""
        seed_everything(fold_in(self.parts.settings.seed, self.progress.epoch))
        self.loss_means = LossMeans()
        self.train_metrics.reset()

    def _all_windows(self) -> Generator[list[Any]]:
        """Windows of `accumulate` batches from where the run stands, over as many passes as it takes. A window never
        crosses the end of a pass: the last one is short."""
        progress = self.progress
        while True:
            batches = batches_of(self.data.train, self.request, progress.pass_, progress.batch)
            while window := list(islice(batches, self.settings.accumulate)):
                progress.batch += len(window)
                yield window
            progress.pass_, progress.batch = progress.pass_ + 1, 0

    def _train_window(self, window: list[Any]) -> dict[str, Tensor]:
        """One optimizer step, with the gradient of one large batch, in the short last window too."""
        shares = Window([checked(self.count(batch)) for batch in window], [size_of(batch) for batch in window])
        terms, means = Terms(), self.loss_means
        undo = self.guard.before_step(self.models.values(), self.criteria.values(), (self.train_metrics, means))
        try:
            shares.refuse_nothing(self.guard.mode)
            for number, batch in enumerate(window):
                terms = one_number_each(self.train_step(batch))
                share = shares.share(number, terms)
                if share is not None:
                    self.guard.check("the loss is", share)
                    self.times.end("forward")
                    self.backward(share)
                means.add(terms, shares.counts[number], shares.sizes[number])
                self.times.end("backward")
            shares.correct(self.optimizers.values(), self.guard.check)
            self.update()
            self.times.end("step")
            self.guard.in_a_row = 0
        except NotFiniteError as error:
            self.guard.skip_step(error, undo, self.where())
            clear(self.optimizers.values())
        self.precision.update()
        self.progress.next_step(learning_rates_of(self.optimizers.values()))
        return terms

    def backward(self, loss: Tensor) -> None:
        self.precision.backward(loss)

    def learn(self, loss: Tensor, optimizer: str) -> None:
        """A step of one of several optimizers inside `train_step`: checked, clipped and applied as the loop's own.
        UserError with `trainer.accumulate` above 1: the batches of a window do not share this step."""
        if self.settings.accumulate > 1:
            raise StepsInsideWindow(type(self).__name__, optimizer, self.settings.accumulate)
        self.guard.check("the loss is", loss)
        self.backward(loss)
        self._look_at_gradients([self.optimizers[optimizer]])
        self.precision.step(self.optimizers[optimizer])
        clear([self.optimizers[optimizer]])

    def update(self) -> None:
        """Clip, check, step, and clear the gradients."""
        self._look_at_gradients(self.optimizers.values())
        self.optimizer_step()
        follow(self.parts.averages, self.models, self.guard.exempt)
        clear(self.optimizers.values())

    def _look_at_gradients(self, optimizers: Collection[Optimizer]) -> None:
        wanted = self._log_due(self.progress.epoch_step + 1)
        wanted = wanted or due(self.progress.step + 1, self.settings.check_gradients)
        self.grad_norm = prepare(optimizers, self.guard, self.precision, self.settings.clip, wanted)

    def _evaluate_inside_epoch(self) -> None:
        progress = self.progress
        row: dict[str, Any] = {"epoch": progress.epoch, "step": progress.step, "phase": "step"}
        try:
            row |= self._evaluate_all(self.data.valid, "val")
        except Interrupted:
            return
        progress.phase = "train"
        improved = self._judge(row)
        self.log.row(row, improved)
        self._set_mode(training=True)
        if improved or self._save_due():
            self.save(best=improved)

    def _save_due(self) -> bool:
        every = self.settings.save_every
        minutes = (time.monotonic() - self._last_save) / 60
        return due(self.progress.step, every.steps) or (every.minutes is not None and minutes >= every.minutes)

    def _end_epoch(self) -> None:
        progress, settings = self.progress, self.settings
        row: dict[str, Any] = {"epoch": progress.epoch, "step": progress.step, "phase": "epoch"}
        row |= self.loss_means.means() | self.train_metrics.compute()
        if settings.validate_every.steps is None and progress.epoch % settings.validate_every.epochs == 0:
            try:
                row |= self._evaluate_all(self.data.valid, "val")
            except Interrupted:
                return
        row |= self.rates()
        for schedule in self.schedules.values():
            schedule.after_epoch()
        improved = self._judge(row)
        if self.store is not None:
            self.store.join()  # whoever kills the run once this epoch has ended loses no epoch before it
        self._tick()
        row["seconds"] = progress.epoch_seconds
        row["samples_per_second"] = self.loss_means.samples / max(progress.train_seconds, 1e-9)
        self.log.row(row, improved)
        self.callbacks.call("on_epoch_end", row)
        progress.phase = "epoch end"
        last = progress.epoch >= self.epochs or self.monitor.exhausted or self._stop_reason
        if improved or last or progress.epoch % settings.save_period == 0:
            self.save(best=improved)

    def _judge(self, row: Mapping[str, Any]) -> bool:
        """Is this row the best so far; a plateau schedule learns of it too."""
        improved = self.monitor.update(row)
        if self.monitor.name in row:
            for schedule in self.schedules.values():
                schedule.after_evaluation(float(row[self.monitor.name]))
        return improved

    def _test(self) -> None:
        """One more row: the test sets, by the best weights, else by the last."""
        if self.store is not None and self.store.best() is not None:
            load_weights(self.evaluated, self.store.load("best").weights())
        row = {"epoch": self.progress.epoch - 1, "step": self.progress.step, "phase": "test"}
        self.log.row(row | self._evaluate_all(self.data.test, "test"))

    def _evaluate_all(self, sets: Mapping[str, Loader], kind: str) -> dict[str, float]:
        """`Interrupted` on a signal. What the evaluation changed is put back then: done again, it gives the same."""
        row: dict[str, float] = {}
        with put_back_if_interrupted(self):
            for name, loader in sets.items():
                prefix = f"{kind}_{name}_" if name else f"{kind}_"
                row |= {prefix + key: value for key, value in self.evaluate(loader, prefix.strip("_")).items()}
        return row

    def evaluate(self, loader: Loader, title: str, observer: Observer | None = None) -> dict[str, float]:
        """The losses and metrics over one pass of `loader`, exact over its samples. `Interrupted` on a signal.
        `observer` sees what the metrics are fed."""
        self.metrics, self.models, means = MetricCollection(self.eval_metrics, observer), self.evaluated, LossMeans()
        self.metrics.reset()
        self._set_mode(training=False)
        self.log.begin_phase(title, batches_in(loader) or 0)
        try:
            with torch.no_grad():  # a table that a model keeps from inference_mode could not be trained with
                for batch in batches_of(loader, self.request, title=title):
                    if self.request:
                        raise Interrupted
                    means.add(one_number_each(self.eval_step(batch)), checked(self.count(batch)), size_of(batch))
                    self.log.advance(means.means)
                return means.means() | self.metrics.compute()
        finally:
            self.log.end_phase()
            self.metrics, self.models = self.train_metrics, self.parts.models

    def _set_mode(self, *, training: bool) -> None:
        set_mode(self.models, self.parts.freezing, training, self.progress.epoch)

    def save(self, best: bool = False) -> None:
        """Everything from which the run goes on as if it had never stopped."""
        if self.store is None:
            return
        so_far = f"epoch {self.progress.epoch}, step {self.progress.step} ({told(self.rates())})"
        self.guard.check_state(self.models, self.optimizers.values(), self.parts.averages, so_far)
        self._tick()
        self._last_save = time.monotonic()
        self.store.save(**content_of(self, best), best=best, before_commit=self.log.sync)

    def where(self) -> str:
        rates = told(learning_rates_of(self.optimizers.values()))
        return f"epoch {self.progress.epoch}, step {self.progress.step + 1} ({rates})"

    def rates(self) -> dict[str, float]:
        """The learning rate that the last step was taken with; of several groups each by name or number."""
        return self.progress.rates or learning_rates_of(self.optimizers.values())

    def _log_due(self, epoch_step: int) -> bool:
        """After every `log_every` steps of the run, and at the end of each epoch."""
        step = self.progress.step - self.progress.epoch_step + epoch_step
        return due(step, self.settings.log_every) or epoch_step == self.steps_per_epoch

    def _log_step(self) -> None:
        values = self.loss_means.since_logged() | self.rates() | self.times.per_step()
        if self.grad_norm is not None:
            values["grad_norm"] = self.grad_norm.item()
        self.log.scalars(self.progress.step, values)

    def _tick(self) -> None:
        """Adds the time since the last tick to the epoch's and the run's."""
        now = time.monotonic()
        self.progress.seconds += now - self._clock
        self.progress.epoch_seconds += now - self._clock
        self._clock = now
