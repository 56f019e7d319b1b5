"""What a start checks and prints beside building: the data, one evaluation batch, the training."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

from base.checkpoint.forward_state import ForwardState
from base.checks import summary
from base.checks.data_faults import SeenBatch, evaluated
from base.checks.preflight import Preflight, ShapeProbe, at_the_loss
from base.errors import Fault, MetricError, listing
from base.loop.components import NoSuchOutput, NotOneNumber, NotOnlyOne
from base.registry import TRAINERS, has_own_epoch
from utils.model_summary import calls_of
from utils.seed import rng_state, set_rng_state

if TYPE_CHECKING:
    from base.build import Builder
    from base.checks.last_batch import LoneSample
    from base.loop.base_trainer import BaseTrainer

log = logging.getLogger(__name__)


class StartChecks:
    """Prints the data at once; `dry_run` comes before the optimizers are built, `report` after."""

    def __init__(self, builder: Builder) -> None:
        self.builder, self.preflight = builder, Preflight(builder)
        _log_lines(summary.of_data(builder))

    def dry_run(self, trainer: BaseTrainer) -> None:
        """Watches one evaluation batch for the checks and for the shapes that are printed."""
        with ExitStack() as watches:
            self.seen = watches.enter_context(ShapeProbe(trainer.models))
            watches.enter_context(self.preflight.watching(trainer.parts))
            self.lone_sample = self._watch_lone_sample(trainer, watches)
            if self.builder.is_new_run and _has_own_loss(trainer):
                from base.checks.broadcasts import refusing_broadcasts

                watches.enter_context(refusing_broadcasts(self.builder.config, trainer))
            dry_run(self.builder, trainer)

    @staticmethod
    def _watch_lone_sample(trainer: BaseTrainer, watches: ExitStack) -> LoneSample | None:
        train = trainer.data.train
        if train.size is None or train.size - (len(train) - 1) * train.batch_size != 1:
            return None
        from base.checks.last_batch import LoneSample

        lone_sample = LoneSample(trainer)
        watches.enter_context(lone_sample.watching())
        return lone_sample

    def report(self, trainer: BaseTrainer, try_training: bool = False) -> list[Fault]:
        """Returns the warnings, with `try_training` after a training batch forward and back; ConfigError for faults."""
        _log_lines(summary.of_training(self.builder, trainer, self.seen))
        if self.lone_sample is not None:
            self.lone_sample.refuse(self.builder.config)
        self.preflight.look(trainer)
        if try_training:
            _log_lines(summary.of_layers(trainer))
            self.preflight.try_training(trainer)
        warnings = [*self.builder.warnings, *self.preflight.warnings]
        for warning in warnings:
            log.warning("%s", warning)
        return warnings


def build_checked(builder: Builder, try_training: bool = False) -> tuple[BaseTrainer, list[Fault]]:
    """A trainer, built and checked as `fit` does it, and the warnings; for those who do not train with it."""
    builder.load_data()
    checks = StartChecks(builder)
    components = builder.for_evaluation()
    trainer = builder.build_trainer(components)
    checks.dry_run(trainer)
    builder.add_optimizers(components)
    return trainer, checks.report(trainer, try_training)


def dry_run(builder: Builder, trainer: BaseTrainer) -> None:
    """One evaluation batch, so that shapes, labels and the monitored name are known to fit before the run begins.

    All is put back as it was, but for the sizes that lazy modules learn. ConfigError for what does not fit. A trainer
    with its own epoch evaluates nothing here.
    """
    config, settings = builder.config, builder.settings
    if has_own_epoch(TRAINERS.get(settings.trainer.type)):
        return
    state, undo = rng_state(), ForwardState(trainer.models.values(), trainer.criteria.values())
    batch = SeenBatch(next(iter(trainer.data.valid.values()), trainer.data.train))
    kinds = listing((component.type for component in settings.models.values()), "and")
    try:
        with calls_of(trainer.models) as trainer.parts.calls:
            row = builder.config_error_from("model", lambda: evaluated(config, trainer, batch), kinds)
    except NotOnlyOne as error:
        raise config.error("trainer.type", f"{settings.trainer.type} {error}") from None
    except NotOneNumber as error:
        raise at_the_loss(error, config) from None
    except MetricError as error:
        metrics = [getattr(metric, "metric", metric) for metric in trainer.eval_metrics.values()]
        places = [getattr(metric, "function", metric) for metric in metrics]
        raise config.error(f"metrics.{places.index(error.metric)}", error.what) from None
    except NoSuchOutput as error:
        raise config.error(error.key, error.what, hint=f"there is {error.there_is}") from None
    undo()
    set_rng_state(state)
    trainer.eval_metrics.reset()
    sets = [f"val_{name}_" if name else "val_" for name in trainer.data.valid]
    known = [*row, *(prefix + name for prefix in sets for name in row)]
    if trainer.monitor.name and trainer.monitor.name not in known:
        what, expected = f"nothing of the name {trainer.monitor.name!r} is logged", f"one of {', '.join(known)}"
        raise config.error("trainer.monitor", what, expected=expected)


def _has_own_loss(trainer: BaseTrainer) -> bool:
    """Whether what is computed of outputs and targets is more than a loss of torch, which is known."""
    plain = all(type(loss).__module__.startswith("torch.") for loss in trainer.criteria.values())
    compute = getattr(trainer, "compute_loss", None)
    return compute is not None and not (plain and compute.__module__ == "trainer.supervised")


def _log_lines(lines: Iterable[str]) -> None:
    for line in list(lines):
        log.info("%s", line)
