"""Reads checkpoints of pytorch-template without running code, and converts them to runs.

`weights_only=True` admits tensors and plain values. Every other class or function that a file names is replaced by a
class that stores its arguments and does nothing, so no code in a checkpoint runs.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from base.checkpoint.rescheduling import units_until
from base.checkpoint.state import load_weights
from base.config import Config
from base.errors import CheckpointError, UserError
from base.loop.optim import SCHEDULED
from base.registry import WRITERS

if TYPE_CHECKING:
    from base.loop.base_trainer import BaseTrainer

_MOST_NAMES = 200
_CONFIGS = ("_config", "config", "_ConfigParser__config")
"""The attributes in which versions of ConfigParser keep their dict."""
_BLOCKED = re.compile(r"GLOBAL (\S+) whose module")
_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (\S+)")


class Inert:
    """Replaces an object or the result of a function: stores arguments and state, and does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        made = object.__new__(cls)
        made.args = args
        return made

    args: tuple[Any, ...]
    state: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __setstate__(self, state: Any) -> None:
        self.state = state


@dataclass
class OldCheckpoint:
    path: Path
    weights: dict[str, Tensor]
    epoch: int
    """The last trained epoch."""
    optimizer: dict[str, Any] | None
    best: float | None
    config: dict[str, Any] | None
    """The parsed config, reduced to plain values."""
    replaced: list[str] = field(default_factory=list)
    """Names of the classes and functions that were replaced by `Inert`."""


def read_old_checkpoint(path: str | Path) -> OldCheckpoint:
    """CheckpointError if the file was not written by torch.save, or holds no `state_dict`."""
    path = Path(path)
    content, replaced = _read(path)
    weights = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not all(isinstance(value, Tensor) for value in weights.values()):
        found = ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"{path}: found {found}, expected a checkpoint of pytorch-template with a state_dict")
    if all(name.startswith("module.") for name in weights):  # saved from DataParallel
        weights = {name.removeprefix("module."): value for name, value in weights.items()}
    best, optimizer = content.get("monitor_best"), content.get("optimizer")
    return OldCheckpoint(
        path,
        dict(weights),
        content["epoch"] if isinstance(content.get("epoch"), int) else 0,
        optimizer if isinstance(optimizer, dict) and "param_groups" in optimizer else None,
        float(best) if isinstance(best, int | float) else None,
        _config_in(content.get("config")),
        replaced,
    )


def _read(path: Path) -> tuple[Any, list[str]]:
    names: dict[str, type] = {}
    while len(names) < _MOST_NAMES:
        stubs: list[Any] = [(stub, name) for name, stub in names.items()]
        try:
            with torch.serialization.safe_globals(stubs):
                return torch.load(path, map_location="cpu", weights_only=True), sorted(names)
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
        except Exception as error:  # torch raises any kind of error for hostile bytes
            unknown = _UNKNOWN.search(str(error))
            if unknown is None:
                blocked = _BLOCKED.search(str(error))
                what = f"it names {blocked[1]}" if blocked else f"{type(error).__name__} while it was read"
                raise CheckpointError(f"{path}: refused, {what}; nothing of it was run") from None
            name = unknown[1] if "." in unknown[1] else f"builtins.{unknown[1]}"
            names[name] = type(name.rpartition(".")[2], (Inert,), {})
    raise CheckpointError(f"{path}: names more than {_MOST_NAMES} classes: not a checkpoint of pytorch-template")


def _config_in(value: Any) -> dict[str, Any] | None:
    """The config in a dict, or in the dict that a ConfigParser holds."""
    if isinstance(value, Inert) and isinstance(value.state, Mapping):
        value = next((value.state[name] for name in _CONFIGS if name in value.state), None)
    found = _plain(value) if isinstance(value, Mapping) else None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> Any:
    """`value` without anything that a config cannot contain."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if _is_plain(item)}
    return [_plain(item) for item in value if _is_plain(item)] if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple | Mapping)


log = logging.getLogger(__name__)
_KEEP = ("fused", "foreach", "capturable", "differentiable", "initial_lr")
"""Options of optimizer groups that the new run decides, whatever the checkpoint holds."""


def convert(
    checkpoint: str | Path,
    config: str | Path | None = None,
    overrides: Sequence[str] = (),
    save_dir: str = "saved",
    *,
    plugins: Sequence[str] = (),
) -> Path:
    """Creates a run in `save_dir` that has finished the checkpoint's epoch, and returns its folder.

    `config` is a file; without it, the config in the checkpoint is used. CheckpointError if the weights do not fit the
    model of the config, ConfigError if the config cannot be run.
    """
    from base.build import Builder
    from base.checks.start import build_checked
    from base.runs.run_dir import Note
    from base.runs.start import NewRun

    old = read_old_checkpoint(checkpoint)
    settled = _config(old, config, [*overrides, f"trainer.save_dir={save_dir}"], plugins)
    WRITERS.get("console")(2)
    if old.replaced:
        log.info("ignored, none of their code ran: %s", ", ".join(old.replaced))
    with ExitStack() as stack:
        plan = NewRun(settled, Note("", ()), decisions=None if config is not None else {})
        builder = Builder(plan.config, plan.claim(stack))
        trainer, _ = build_checked(builder)
        run = plan.open(trainer, builder, stack)
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
    """Moves schedules to the checkpoint's epoch. Loads the optimizer's state if there is one optimizer that it fits."""
    for name, schedule in trainer.schedules.items():
        if schedule.links:
            own_epoch = not schedule.links[0].every
            schedule.replay([""] * old.epoch if own_epoch else units_until(trainer, trainer.progress))
            log.info("%s: moved on by %d epochs", name, old.epoch)
    if old.optimizer is None or len(trainer.optimizers) != 1:
        return
    (optimizer,) = trainer.optimizers.values()
    groups = []
    try:
        for new, group in zip(optimizer.param_groups, old.optimizer["param_groups"], strict=True):
            default, decided = ({name: new[name] for name in names if name in new} for names in (SCHEDULED, _KEEP))
            groups.append(default | group | decided)
        optimizer.load_state_dict({"state": old.optimizer["state"], "param_groups": groups})
    except (ValueError, KeyError, TypeError) as error:
        log.warning("the optimizer starts afresh, its state does not fit: %s", error)
