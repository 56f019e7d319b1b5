"""Runs a trainer written for pytorch-template, whose epochs are its own `_train_epoch(epoch)`.

The run keeps what does not depend on that code: it saves at the end of each epoch, knows the best, stops early, logs,
and resumes bit-exactly there, since all generators start afresh from (seed, epoch). Inside an epoch it sees only the
optimizers' steps: there it counts them, looks at the gradients, and heeds a signal.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.checkpoint.attribute_state import AttributeState
from base.errors import ConfigError, DataError, Fault, NotFiniteError, Origin
from base.legacy.adapter import Batches, NamedMetric, TemplateConfig, TemplateTrainer, TemplateWriter, WrapsLoader
from base.loop.base_trainer import BaseTrainer
from base.loop.components import TrainerComponents
from base.loop.metrics import LossAverager, Mean, MetricCollection, Observer
from base.loop.optim import ParameterFreezer, learning_rates_of
from base.loop.stopping import Interrupted
from base.protocols import Loader, WrapsLoader

if TYPE_CHECKING:
    from base.config import Config

log = logging.getLogger(__name__)
_NOT_THERE = {
    "accumulate": "counts batches",
    "clip": "changes gradients",
    "precision": "wraps the forward pass",
    "ema": "follows each step",
    "save_every": "saves inside epochs",
    "validate_every": "decides when to validate",
    "check_gradients": "decides when to look; here it is at each step",
}
"""Keys of `trainer` that belong to the framework's loop, and what they do there."""


class EpochTrainer(BaseTrainer):
    """`make` calls the constructor of the class, with what it is to be supplied with by name."""

    def __init__(
        self, parts: TrainerComponents, config: Config, kind: type[TemplateTrainer], make: Callable[..., Any]
    ) -> None:
        super().__init__(parts)
        self._refuse_what_has_no_effect(kind)
        self.name, self.lost = kind.__name__, 0
        self.train_metrics = MetricCollection({})  # theirs are their own affair
        self.writer = TemplateWriter(lambda: self.log.writer)
        for schedule in self.schedules.values():  # they step them
            schedule.links = [replace(link, every="") for link in schedule.links]
        given = self._offered(TemplateConfig(config, self, self.writer))
        names = inspect.signature(kind).parameters
        self._valid_loader = given["valid_data_loader"]
        self.theirs = make(**{name: value for name, value in given.items() if name in names})
        if not isinstance(getattr(self.theirs, "_run", None), EpochTrainer):
            raise TypeError(f"{self.name}.__init__ must call super().__init__")
        parts.stateful["trainer"] = AttributeState(self.theirs, [*given.values(), *vars(self).values(), self])

    def _refuse_what_has_no_effect(self, kind: type) -> None:
        default = type(self.settings)(epochs=1)
        wrong = {
            name: does for name, does in _NOT_THERE.items() if getattr(self.settings, name) != getattr(default, name)
        }
        if self.settings.non_finite == "skip":
            wrong["non_finite"] = "undoes a step when it skips"
        chains = [name for name, schedule in self.schedules.items() if len(schedule.links) > 1]
        faults = [
            Fault(Origin("the config"), "lr_scheduler", f"a chain, and {kind.__name__} steps one schedule itself")
            for _ in chains[:1]
        ]
        faults += [
            Fault(Origin("the config"), f"trainer.{name}", f"{does}, and {kind.__name__} has a _train_epoch of its own")
            for name, does in wrong.items()
        ]
        if faults:
            raise ConfigError(faults)

    def _offered(self, config: TemplateConfig) -> dict[str, Any]:
        """By every name that a constructor of some year has for it."""
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
        """The project's own loader behind one of the framework's, or what iterates like one."""
        return loader.wrapped if isinstance(loader, WrapsLoader) else Batches(loader, self.request, pass_)

    @staticmethod
    def _one(several: Mapping[str, Any]) -> Any:
        """The only one, or all of them by name."""
        return next(iter(several.values())) if len(several) == 1 else dict(several)

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        raise AssertionError("an epoch of its own takes its own steps")

    eval_step = train_step

    def _run_epoch(self) -> None:
        progress = self.progress
        self._begin_epoch()
        total = getattr(self.theirs, "len_epoch", None) or self.steps_per_epoch
        self.log.begin_phase(f"train {progress.epoch}/{self.epochs}", total)
        try:
            with self._watching():
                self.tally = _TheirLog(self._numbers(self.theirs._train_epoch(progress.epoch)), self.data.train.size)
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
        """Hooks on every optimizer there is, those that the trainer made itself too. Hooks on the models as well: what
        is frozen stays so, though the epoch calls `model.train()`."""
        own = [value for value in vars(self.theirs).values() if isinstance(value, Optimizer)]
        optimizers = list({id(one): one for one in (*self.optimizers.values(), *own)}.values())
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

    def _numbers(self, told: Any) -> dict[str, float]:
        """What an epoch or a validation returned: numbers by name. Lists of metrics, as in 2018, by the metrics' names.
        ValueError, which shows what came, if it is no dict.
        """
        if not isinstance(told, Mapping):
            raise ValueError(f"{self.name} returned {told!r} for an epoch, expected a dict such as {{'loss': 0.1}}")
        numbers: dict[str, float] = {}
        for key, value in told.items():
            prefix, _, kind = str(key).rpartition("_")
            if kind == "metrics" and prefix in ("", "val") and isinstance(value, list | tuple | torch.Tensor):
                start = f"{prefix}_" if prefix else ""
                numbers |= {start + name: float(item) for name, item in zip(self.eval_metrics, value, strict=False)}
                continue
            try:
                numbers[str(key)] = float(value)
            except (TypeError, ValueError):
                continue  # no number: nothing to log
        return numbers

    def _evaluate_all(self, sets: Mapping[str, Loader], kind: str) -> dict[str, float]:
        return {} if kind == "val" else super()._evaluate_all(sets, kind)  # validation is in the epoch

    def evaluate(self, loader: Loader, title: str, observer: Observer | None = None) -> dict[str, float]:
        """What `_valid_epoch` says of other data. DataError if there is none. Nobody can observe its outputs."""
        theirs = self.theirs
        if not hasattr(theirs, "_valid_epoch"):
            raise DataError(f"{self.name} has no _valid_epoch(epoch): nothing says how to test it")
        places = [name for name, value in vars(theirs).items() if value is not None and value is self._valid_loader]
        before = dict(vars(theirs))
        vars(theirs).update(dict.fromkeys(places or ["valid_data_loader"], self._raw(loader)))
        self.writer.muted = True
        try:
            with torch.no_grad():
                told = self._numbers(theirs._valid_epoch(self.progress.epoch))
        finally:
            self.writer.muted = False
            vars(theirs).update({name: before.get(name) for name in places or ["valid_data_loader"]})
        return {name.removeprefix("val_"): value for name, value in told.items()}

    def _judge(self, row: Mapping[str, Any]) -> bool:
        name = self.monitor.name
        if name and name not in row and self.progress.epoch == 1:
            known = ", ".join(self.tally.means())
            log.warning("nothing of the name %r is logged, so no epoch is the best one; there are %s", name, known)
        return super()._judge(row)

    def save(self, best: bool = False) -> None:
        if not self.lost:
            return super().save(best)
        steps, epoch = "1 step" if self.lost == 1 else f"{self.lost} steps", self.progress.epoch
        log.warning(
            "%s of epoch %d %s lost: %s trains it by code of its own, which can go on at the end of an epoch only",
            *(steps, epoch, "is" if self.lost == 1 else "are", self.name),
        )


class _TheirLog(LossAverager):
    """The log that an epoch returned, in place of the sums of losses."""

    def __init__(self, told: Mapping[str, float], count: int) -> None:
        super().__init__()
        self.told, self.samples = dict(told), count

    @property
    def count(self) -> int:
        return self.samples

    def means(self) -> dict[str, float]:
        return dict(self.told)


def _named(name: str, metric: Any) -> Any:
    function = metric.function if isinstance(metric, Mean) else metric
    return function if getattr(function, "__name__", None) == name else NamedMetric(name, function)
