"""What survives a restart: everything a run needs to go on as if it had never stopped.

Data order and augmentation are not here: they are functions of (seed, pass, position).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from utils.seed import rng_state, set_rng_state

if TYPE_CHECKING:
    from base.base_trainer import BaseTrainer


def weights_of(trainer: BaseTrainer) -> dict[str, Tensor]:
    """The weights that are evaluated: of one model as it names them, of several each under its model's name."""
    return {f"{_prefix(trainer, n)}{k}": v for n, m in trainer.models.items() for k, v in m.state_dict().items()}


def load_weights(trainer: BaseTrainer, weights: Mapping[str, Tensor]) -> None:
    for name, model in trainer.models.items():
        prefix = _prefix(trainer, name)
        model.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})


def _prefix(trainer: BaseTrainer, name: str) -> str:
    return "" if list(trainer.models) == ["model"] else f"{name}."


def state_of(trainer: BaseTrainer) -> dict[str, Any]:
    """Plain values and tensors only, so that reading them back can run no code."""
    return {
        "progress": trainer.progress.state_dict(),
        "optimizers": {name: optimizer.state_dict() for name, optimizer in trainer.optimizers.items()},
        "schedules": {name: schedule.state_dict() for name, schedule in trainer.schedules.items()},
        "precision": trainer.precision.state_dict(),
        "monitor": trainer.monitor.state_dict(),
        "guard": trainer.guard.state_dict(),
        "metrics": {name: metric.state_dict() for name, metric in trainer.train_metrics.items()},
        "tally": trainer.tally.state_dict(),
        "interval": trainer.interval.state_dict(),
        "rng": rng_state(),
        "logs": trainer.log.flush(),
    }


def restore(trainer: BaseTrainer, state: Mapping[str, Any]) -> None:
    trainer.progress.load_state_dict(state["progress"])
    for name, schedule in trainer.schedules.items():
        schedule.load_state_dict(state["schedules"][name])
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    trainer.precision.load_state_dict(state["precision"])
    trainer.monitor.load_state_dict(state["monitor"])
    trainer.guard.load_state_dict(state["guard"])
    for name, metric in trainer.train_metrics.items():
        metric.load_state_dict(state["metrics"][name])
    trainer.tally.load_state_dict(state["tally"])
    trainer.interval.load_state_dict(state["interval"])
    set_rng_state(state["rng"])
