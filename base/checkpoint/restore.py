"""Restores a trainer from a checkpoint, and models for a test."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from base.checkpoint.component_load import load
from base.checkpoint.expected import loading, same_names, same_tensor, similar
from base.checkpoint.format import MODEL, Checkpoint
from base.checkpoint.rescheduling import restore_optimizers
from base.checkpoint.state import load_weights, prefix_of, weights_of
from utils.seed import set_rng_state

if TYPE_CHECKING:
    from base.checkpoint.state import RunningTrainer


def check_weights(models: Mapping[str, nn.Module], weights: Mapping[str, Any], file: Path) -> None:
    """CheckpointError, which names the file and the tensor, unless all names, shapes and dtypes are the models' own.

    A module of the user's that loads its state itself may have its own idea of what fits.
    """
    free = tuple(
        prefix_of(models, name) + (path and f"{path}.")
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
    trainer.loss_means.load_state_dict(state["losses"])
    trainer.data.train.load_state_dict(state["data"])
    load(trainer.states, state["components"], saved.frozen)
    set_rng_state(state["ranks"][0]["generators"])
