"""What a checkpoint holds: the state of everything that a resumed run goes on with.

Data order and augmentation are not here: they are functions of (seed, pass, position). A stream says where it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from base.checkpoint.expected import loading, same_names, same_tensor, similar
from base.checkpoint.format import MODEL, Checkpoint
from base.checkpoint.rescheduling import restore_optimizers
from utils.seed import rng_state, set_rng_state

if TYPE_CHECKING:
    from base.loop.components import RunningTrainer


def weights_of(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The weights of one model as it names them, of several each under its model's name."""
    return {f"{_prefix(models, n)}{k}": v for n, model in models.items() for k, v in model.state_dict().items()}


def load_weights(models: Mapping[str, nn.Module], weights: Mapping[str, Tensor], strict: bool = True) -> None:
    """RuntimeError, which names the tensors and shapes, if they do not fit, or `strict` and some are missing."""
    for name, model in models.items():
        prefix = _prefix(models, name)
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        model.load_state_dict(own, strict=strict)


def check_weights(models: Mapping[str, nn.Module], weights: Mapping[str, Any], file: Path) -> None:
    """CheckpointError, which names the file and the tensor, unless all names, shapes and dtypes are the models' own.

    A module of the user's that loads its state itself may have its own idea of what fits.
    """
    free = tuple(
        _prefix(models, name) + (path and f"{path}.")
        for name, model in models.items()
        for path, module in model.named_modules()
        if not _loads_as_torch_does(module)
    )
    own = {name: value for name, value in weights_of(models).items() if not name.startswith(free)}
    with loading(file):
        found = same_names(own, {n: v for n, v in weights.items() if not n.startswith(free)}, "the weights")
        for name, value in own.items():
            compare = same_tensor if isinstance(value, Tensor) else similar
            compare(value, found[name], name)


def _loads_as_torch_does(module: nn.Module) -> bool:
    methods = type(module).load_state_dict, type(module)._load_from_state_dict
    return all(method.__module__.startswith("torch.") for method in methods)


def load_saved(models: Mapping[str, nn.Module], saved: Checkpoint) -> None:
    """The weights of a save that are evaluated. CheckpointError if they do not fit."""
    check_weights(models, saved.weights(), saved.path / MODEL)
    with loading(saved.path / MODEL):
        load_weights(models, saved.weights())


def _prefix(models: Mapping[str, nn.Module], name: str) -> str:
    return "" if list(models) == ["model"] else f"{name}."


def info_of(trainer: RunningTrainer, best: bool) -> dict[str, Any]:
    """What the manifest of a save says of it: where the run stands, and the value that makes it the best one."""
    progress, monitor = trainer.progress, trainer.monitor
    return {
        "step": progress.step,
        "epoch": progress.epoch,
        "phase": progress.phase,
        "metrics": {monitor.name: monitor.best} if best else {},
        "data": dict(trainer.data.decisions),
    }


def state_of(trainer: RunningTrainer) -> dict[str, Any]:
    """Plain values and tensors only, so that reading them back can run no code."""
    return {
        "progress": trainer.progress.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trainer.optimizers.items()},
        "schedules": {name: schedule.state_dict() for name, schedule in trainer.schedules.items()},
        "averaged": {name: int(average.n_averaged) for name, average in trainer.parts.averages.items()},
        "precision": trainer.precision.state_dict(),
        "monitor": trainer.monitor.state_dict(),
        "guard": trainer.guard.state_dict(),
        "metrics": trainer.train_metrics.state_dict(),
        "tally": trainer.tally.state_dict(),
        "data": trainer.data.train.state_dict(),
        "own": {name: one.state_dict() for name, one in trainer.parts.stateful.items()},
        "rng": rng_state(),
        "logs": trainer.log.flush(),
    }


def restore(trainer: RunningTrainer, saved: Checkpoint, touched: Collection[str] = ()) -> None:
    """`touched` are the words of all keys that were changed by force since the run was saved. CheckpointError if some
    part refuses what was saved of it; whether it fits was looked at before."""
    with loading(saved.path):
        _restore(trainer, saved, touched)


def _restore(trainer: RunningTrainer, saved: Checkpoint, touched: Collection[str]) -> None:
    load_weights(trainer.evaluated, saved.weights())
    state, raw = saved.state, saved.raw()
    if raw is not None:
        load_weights(trainer.models, raw)
    for name, average in trainer.parts.averages.items():
        average.n_averaged.fill_(state["averaged"][name])
    trainer.progress.load_state_dict(state["progress"])
    restore_optimizers(trainer, state, touched)
    trainer.precision.load_state_dict(state["precision"])
    trainer.monitor.load_state_dict(state["monitor"])
    trainer.guard.load_state_dict(state["guard"])
    trainer.train_metrics.load_state_dict(state["metrics"])
    trainer.tally.load_state_dict(state["tally"])
    trainer.data.train.load_state_dict(state["data"])
    for name, one in trainer.parts.stateful.items():
        one.load_state_dict(state["own"][name])
    set_rng_state(state["rng"])
