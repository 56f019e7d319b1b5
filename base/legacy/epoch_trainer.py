"""Runs a trainer written for pytorch-template, which trains an epoch in its own `_train_epoch(epoch)`.

The run does everything that does not depend on that code: it saves at the end of each epoch, tracks the best epoch,
stops early, logs, and resumes bit-exactly at the end of an epoch, since all generators are seeded by (seed, epoch).
Within an epoch it only sees the optimizers' steps: it counts them, checks the gradients, and reacts to signals.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.checkpoint.component_state import ComponentStates
from base.checkpoint.state import states_of
from base.errors import ConfigError, DataError, Fault, NotFiniteError, Origin
from base.legacy.adapter import (
    Batches,
    NamedMetric,
    TemplateConfig,
    TemplateTrainer,
    TemplateWriter,
    Validates,
)
from base.loop.base_trainer import BaseTrainer
from base.loop.components import TrainerComponents
from base.loop.metrics import LossMeans, Mean, MetricCollection, Observer
from base.loop.optim import ParameterFreezer, learning_rates_of
from base.loop.stopping import Interrupted
from base.protocols import Loader, WrapsLoader

if TYPE_CHECKING:
    from base.config import Config

log = logging.getLogger(__name__)
_LOOP_KEYS = {
    "accumulate": "counts batches",
    "clip": "changes gradients",
    "precision": "wraps the forward pass",
    "ema": "follows each step",
    "save_every": "saves inside epochs",
    "validate_every": "decides when to validate",
    "check_gradients": "sets when gradients are checked; here they are checked at each step",
}
"""Keys of `trainer` that only the framework's loop supports, and their effect there."""


class EpochTrainer(BaseTrainer):
    """`make` calls the constructor of the user's class with keyword arguments."""

    def __init__(
        self, parts: TrainerComponents, config: Config, kind: type[TemplateTrainer], make: Callable[..., Any]
    ) -> None:
        super().__init__(parts)
        self._refuse_loop_keys(kind)
        self.name, self.lost = kind.__name__, 0
        self.train_metrics = MetricCollection({})  # the user's code computes training metrics itself
        self.writer = TemplateWriter(lambda: self.log.writer)
        for schedule in self.schedules.values():  # the user's code steps them
            schedule.links = [replace(link, every="") for link in schedule.links]
        given = self._arguments(TemplateConfig(config, self, self.writer))
        names = inspect.signature(kind).parameters
        self._valid_loader = given["valid_data_loader"]
        self.user_trainer = make(**{name: value for name, value in given.items() if name in names})
        if not isinstance(getattr(self.user_trainer, "_run", None), EpochTrainer):
            raise TypeError(f"{self.name}.__init__ must call super().__init__")
        self._given = [*given.values()]

    @cached_property
    def states(self) -> ComponentStates:
        """All attributes of the user's trainer are its own."""
        others = [value for value in vars(self).values() if value is not self.user_trainer]
        return states_of(self, self.user_trainer, (), [self, *self._given, *others])

    def _refuse_loop_keys(self, kind: type) -> None:
        default = type(self.settings)(epochs=1)
        given = [name for name in _LOOP_KEYS if getattr(self.settings, name) != getattr(default, name)]
        given += ["non_finite"] * (self.settings.non_finite == "skip")
        own = f"and {kind.__name__} has its own _train_epoch"
        wrong = {f"trainer.{name}": f"{_LOOP_KEYS.get(name, 'undoes a step when it skips')}, {own}" for name in given}
        if any(len(schedule.links) > 1 for schedule in self.schedules.values()):
            wrong["lr_scheduler"] = f"a chain, and {kind.__name__} steps one schedule itself"
        if wrong:
            raise ConfigError(Fault(Origin("the config"), key, what) for key, what in wrong.items())

    def _arguments(self, config: TemplateConfig) -> dict[str, Any]:
        """The arguments that a constructor may have, under all names that pytorch-template has used."""
        valid = next(iter(self.data.valid.values()), None)
        test = next(iter(self.data.test.values()), None)
        chain = next(iter(self.schedules.values()), None)
        train = self._raw(self.data.train, lambda: self.progress.epoch - 1)
        valid_loader, test_loader = (one and self._raw(one) for one in (valid, test))
        metrics = [_named(name, metric) for name, metric in self.eval_metrics.items()]
        scheduler = chain.scheduler if chain is not None else None
        offered = {"model": self._one(self.models), "optimizer": self._one(self.optimizers), "device": self.device}
        offered |= dict.fromkeys(("criterion", "loss"), self._one(self.criteria))
        offered |= dict.fromkeys(("metric_ftns", "metrics"), metrics)
        offered |= dict.fromkeys(("data_loader", "train_data_loader", "train_loader"), train)
        offered |= dict.fromkeys(("valid_data_loader", "val_data_loader", "valid_loader", "val_loader"), valid_loader)
        offered |= dict.fromkeys(("test_data_loader", "test_loader"), test_loader)
        offered |= dict.fromkeys(("lr_scheduler", "scheduler"), scheduler)
        offered |= {"config": config, "len_epoch": self.settings.steps_per_epoch, "resume": None, "train_logger": None}
        return offered

    def _raw(self, loader: Loader, pass_: Callable[[], int] = lambda: 0) -> Any:
        """The project's own loader, or an iterable over the framework's."""
        return loader.wrapped if isinstance(loader, WrapsLoader) else Batches(loader, self.request, pass_)

    @staticmethod
    def _one(several: Mapping[str, Any]) -> Any:
        """The value if there is only one, else all values by name."""
        return next(iter(several.values())) if len(several) == 1 else dict(several)

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        raise AssertionError("_train_epoch takes the steps itself")

    eval_step = train_step

    def _run_epoch(self) -> None:
        progress = self.progress
        self._begin_epoch()
        total = getattr(self.user_trainer, "len_epoch", None) or self.steps_per_epoch
        self.log.begin_phase(f"train {progress.epoch}/{self.epochs}", total)
        try:
            with self._watching():
                returned = self.user_trainer._train_epoch(progress.epoch)
                self.loss_means = ReturnedValues(self._numbers(returned), self.data.train.size or 0)
        except Interrupted:
            self.lost = progress.epoch_step
            return
        except NotFiniteError as error:
            raise NotFiniteError(f"{error} in {self.where()}") from None
        finally:
            self.log.end_phase()
        self._tick()
        progress.phase, progress.train_seconds = "validate", progress.epoch_seconds

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Hooks into every optimizer, including those that the trainer made, and into the models, whose frozen parts
        stay frozen although the epoch calls `model.train()`."""
        own = [value for value in vars(self.user_trainer).values() if isinstance(value, Optimizer)]
        optimizers = list(dict.fromkeys([*self.optimizers.values(), *own]))
        hooks = [optimizer.register_step_pre_hook(self._before_step) for optimizer in optimizers]
        hooks += [optimizer.register_step_post_hook(self._after_step) for optimizer in optimizers[:1]]
        for name, freezing in self.parts.freezing.items():
            freezing.apply(self.progress.epoch)
            hooks.append(self.models[name].register_forward_pre_hook(partial(self._before_forward, freezing)))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.guard.mode != "ignore":
            groups = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
            self.grad_norm = nn.utils.get_total_norm([grad for grad in groups if grad is not None])
            self.guard.check("the norm of the gradients is", self.grad_norm)
            self.guard.mask_update([optimizer])

    def _before_forward(self, freezing: ParameterFreezer, model: nn.Module, args: Any) -> None:
        freezing.apply(self.progress.epoch)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self.progress.next_step(learning_rates_of(self.optimizers.values()))
        self.log.advance(dict)
        if self._log_due(self.progress.epoch_step):
            self.guard.raise_if_bad()
            norm = {} if self.grad_norm is None else {"grad_norm": self.grad_norm.item()}
            self.log.scalars(self.progress.step, self.rates() | norm)
        if self._interrupted():
            raise Interrupted

    def _numbers(self, returned: Any) -> dict[str, float]:
        """The numbers that an epoch or a validation returned. Metrics in a list, as in 2018, get the metrics' names.
        ValueError for anything but a dict."""
        if not isinstance(returned, Mapping):
            raise ValueError(f"{self.name} returned {returned!r} for an epoch, expected a dict such as {{'loss': 0.1}}")
        numbers: dict[str, float] = {}
        for key, value in returned.items():
            if key in ("metrics", "val_metrics") and isinstance(value, list | tuple | torch.Tensor):
                start = str(key).removesuffix("metrics")
                numbers |= {start + name: float(item) for name, item in zip(self.eval_metrics, value, strict=False)}
                continue
            with suppress(TypeError, ValueError):  # only numbers are logged
                numbers[str(key)] = float(value)
        return numbers

    def _evaluate_all(self, sets: Mapping[str, Loader], kind: str) -> dict[str, float]:
        return {} if kind == "val" else super()._evaluate_all(sets, kind)  # the user's epoch includes the validation

    def evaluate(self, loader: Loader, title: str, observer: Observer | None = None) -> dict[str, float]:
        """The values that `_valid_epoch` returns with `loader` in place of the validation loader. `observer` sees no
        outputs. DataError if the trainer has no `_valid_epoch`."""
        if not isinstance(self.user_trainer, Validates):
            raise DataError(f"{self.name} has no _valid_epoch(epoch): nothing says how to test it")
        attributes = vars(self.user_trainer)
        names = [name for name, value in attributes.items() if value is not None and value is self._valid_loader]
        names = names or ["valid_data_loader"]
        before = {name: attributes.get(name) for name in names}
        attributes.update(dict.fromkeys(names, self._raw(loader)))
        self.writer.muted = True
        try:
            with torch.no_grad():
                found = self._numbers(self.user_trainer._valid_epoch(self.progress.epoch))
        finally:
            self.writer.muted = False
            attributes.update(before)
        return {name.removeprefix("val_"): value for name, value in found.items()}

    def _judge(self, row: Mapping[str, Any]) -> bool:
        name = self.monitor.name
        if name and name not in row and self.progress.epoch == 1:
            known = ", ".join(self.loss_means.means())
            log.warning("no value named %r is logged, so no epoch is the best one; there are %s", name, known)
        return super()._judge(row)

    def save(self, best: bool = False) -> None:
        if not self.lost:
            return super().save(best)
        steps, epoch = "1 step" if self.lost == 1 else f"{self.lost} steps", self.progress.epoch
        log.warning(
            "%s of epoch %d %s lost: %s has its own _train_epoch, so the run can resume only at the end of an epoch",
            *(steps, epoch, "is" if self.lost == 1 else "are", self.name),
        )


class ReturnedValues(LossMeans):
    """The values that an epoch returned, in place of averaged losses."""

    def __init__(self, values: Mapping[str, float], samples: int) -> None:
        super().__init__()
        self.values, self.samples = values, samples

    def means(self) -> dict[str, float]:
        return dict(self.values)


def _named(name: str, metric: Any) -> Any:
    function: Any = metric.function if isinstance(metric, Mean) else metric
    return function if getattr(function, "__name__", None) == name else NamedMetric(name, function)
