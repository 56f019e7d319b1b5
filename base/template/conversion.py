"""A checkpoint of pytorch-template as a run of ours, to be resumed, tested, or begun from."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from base.config import Config
from base.errors import CheckpointError, UserError
from base.registry import WRITERS
from base.rescheduling import units_until
from base.saving.state import load_weights
from base.schedule import SCHEDULED
from base.template.old_checkpoint import OldCheckpoint, read_old_checkpoint

if TYPE_CHECKING:
    from base.base_trainer import BaseTrainer

log = logging.getLogger(__name__)
_OURS = ("fused", "foreach", "capturable", "differentiable", "initial_lr")
"""Of an optimizer's groups what this run decides, whatever the old one did."""


def convert(
    checkpoint: str | Path,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    save_dir: str = "saved",
    *,
    plugins: Sequence[str] = (),
) -> Path:
    """Makes a run in `save_dir` that stands at the end of the checkpoint's epoch; its folder.

    `config` is a file, else the config that the checkpoint holds. CheckpointError if the weights do not fit the model
    that it describes, ConfigError if it cannot be run.
    """
    from base.notes import Note
    from base.run import start

    old = read_old_checkpoint(checkpoint)
    settled = _config(old, config, [*overrides, f"trainer.save_dir={save_dir}"], plugins)
    WRITERS.get("console")(2)
    if old.replaced:
        log.info("inert, none of their code ran: %s", ", ".join(old.replaced))
    with ExitStack() as stack:
        trainer, run, _ = start(stack, settled, Note("", ()), (), kept=None if config is not None else {})
        try:
            load_weights(trainer.models, old.weights)
        except RuntimeError as error:
            raise CheckpointError(f"{old.path}: does not fit the model: {error}") from None
        progress = trainer.progress
        progress.step = old.epoch * trainer.steps_per_epoch
        progress.epoch, progress.pass_ = old.epoch + 1, old.epoch
        _take_optimizer(trainer, old)
        if trainer.monitor.name:
            trainer.monitor.best = trainer.monitor.reference = old.best
            trainer.monitor.best_epoch = old.epoch
        trainer.save(best=old.best is not None and bool(trainer.monitor.name))
        assert trainer.store is not None
        trainer.store.join()
    return run.path


def _config(old: OldCheckpoint, file: str | Path | None, overrides: Sequence[str], plugins: Sequence[str]) -> Config:
    if file is not None:
        return Config.read(file, overrides, plugins=plugins)
    if old.config is None:
        raise UserError(f"{old.path} holds no config that can be read: name the project's with -c")
    return Config.from_dict(old.config, str(old.path), overrides, plugins=plugins)


def _take_optimizer(trainer: BaseTrainer, old: OldCheckpoint) -> None:
    """Its state, and schedules at the epoch that is reached, if there are one optimizer and state that fits it."""
    for name, schedule in trainer.schedules.items():
        if schedule.links:
            own_epoch = not schedule.links[0].every
            schedule.replay([""] * old.epoch if own_epoch else units_until(trainer, trainer.progress))
            log.info("%s: moved on by %d epochs", name, old.epoch)
    if old.optimizer is None or len(trainer.optimizers) != 1:
        return
    (optimizer,) = trainer.optimizers.values()
    groups = [dict(group) for group in optimizer.param_groups]
    kept = [{name: group[name] for name in _OURS if name in group} for group in groups]
    scheduled = [{name: group[name] for name in SCHEDULED if name in group} for group in groups]
    try:
        there = old.optimizer["param_groups"]
        theirs = [first | group | last for first, group, last in zip(scheduled, there, kept, strict=True)]
        optimizer.load_state_dict({"state": old.optimizer["state"], "param_groups": theirs})
    except (ValueError, KeyError, TypeError) as error:
        log.warning("the optimizer begins afresh, its state does not fit: %s", error)
