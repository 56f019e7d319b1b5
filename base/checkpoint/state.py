"""What a checkpoint holds: the state of everything that a resumed run goes on with.

Data order and augmentation are not here: they are functions of (seed, pass, position). A stream says where it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from base.checkpoint.component_state import ComponentStates
from base.checkpoint.forward_state import ForwardState
from base.loop.stopping import Interrupted
from utils.seed import rng_state, set_rng_state

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from base.config.keys import TrainerConfig
    from base.loop.components import TrainerComponents
    from base.loop.metrics import LossMeans, MetricCollection
    from base.loop.nan_guard import NonFiniteGuard
    from base.loop.optim import Schedule
    from base.loop.train_state import Monitor, TrainState
    from base.protocols import DataSets, RunLog
    from utils.device import MixedPrecision


_LOOPS_OWN = ("_loops_own", "callbacks", "states", "criterion", "_rule", "_first_two", "_compared")
"""Attributes that the loop and `Trainer` set after the constructor. They follow from the config, which may change."""


class RunningTrainer(Protocol):
    """What saving and resuming read and set of a trainer. BaseTrainer is one."""

    parts: TrainerComponents
    settings: TrainerConfig
    data: DataSets
    log: RunLog
    models: dict[str, nn.Module]
    optimizers: dict[str, Optimizer]
    schedules: dict[str, Schedule]
    precision: MixedPrecision
    guard: NonFiniteGuard
    monitor: Monitor
    progress: TrainState
    train_metrics: MetricCollection
    eval_metrics: MetricCollection
    loss_means: LossMeans
    epochs: int
    steps_per_epoch: int

    @property
    def evaluated(self) -> dict[str, nn.Module]: ...

    @property
    def states(self) -> ComponentStates: ...

    def count(self, batch: Any) -> Any: ...


def weights_of(models: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """The weights of one model as it names them, of several each under its model's name."""
    return {f"{prefix_of(models, n)}{k}": v for n, model in models.items() for k, v in model.state_dict().items()}


def load_weights(models: Mapping[str, nn.Module], weights: Mapping[str, Tensor], strict: bool = True) -> None:
    """RuntimeError, which names the tensors and shapes, if they do not fit, or `strict` and some are missing."""
    for name, model in models.items():
        prefix = prefix_of(models, name)
        own = {k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)}
        model.load_state_dict(own, strict=strict)


def prefix_of(models: Mapping[str, nn.Module], name: str) -> str:
    """What the names of a model's weights begin with in a checkpoint."""
    return "" if list(models) == ["model"] else f"{name}."


def states_of(
    trainer: RunningTrainer, owner: Any, loops_own: Collection[str], elsewhere: Iterable[Any] = ()
) -> ComponentStates:
    """The state of all components; to be asked for when they are built, and before any of them changes.

    `owner` has the trainer's attributes. Those named in `loops_own`, and the objects `elsewhere`, are the loop's, which
    saves what matters of them itself.
    """
    parts = trainer.parts
    models = {f"models.{name}": model for name, model in parts.models.items()}
    models |= {f"averages.{name}": average.module for name, average in parts.averages.items()}
    roots = {**models, **{f"losses.{name}": loss for name, loss in parts.criteria.items()}, "trainer": owner}
    for kind, metrics in (("metrics", trainer.train_metrics), ("valid_metrics", trainer.eval_metrics)):
        roots |= {f"{kind}.{name}": metric for name, metric in metrics.items()}
    seen: Counter[str] = Counter()
    for component, callback in zip(parts.settings.callbacks, parts.callbacks, strict=False):
        seen[component.type] += 1
        number = f"#{seen[component.type]}" if seen[component.type] > 1 else ""
        roots[f"callbacks.{component.type}{number}"] = callback
    roots |= parts.data.components()
    optimizers = {f"optimizers.{name}": optimizer for name, optimizer in parts.optimizers.items()}
    others = [parts, *vars(parts).values(), *optimizers.values(), *parts.schedules.values(), *elsewhere]
    others += [getattr(owner, name) for name in loops_own]
    states = ComponentStates(roots, others, {"trainer": {*loops_own, *_LOOPS_OWN}}, models, optimizers)
    loaders = {
        "train": parts.data.train,
        **{f"valid_{n}" if n else "valid": one for n, one in parts.data.valid.items()},
    }
    states.tell_of_workers([label for label, loader in loaders.items() if loader.workers])
    return states


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


def learned_of(data: DataSets) -> dict[str, Any]:
    """What was worked out from the data when the run began: the split, and vocabularies and the like."""
    return {"split": dict(data.split)} | {k: data.decisions[k] for k in ("learned", "fold") if k in data.decisions}


def content_of(trainer: RunningTrainer, best: bool) -> dict[str, Any]:
    """The arguments of `CheckpointStore.save` that are the content of a save."""
    raw = weights_of(trainer.models) if trainer.parts.averages else None
    weights, state = weights_of(trainer.evaluated), state_of(trainer)
    return {"weights": weights, "state": state, "info": info_of(trainer, best), "raw": raw}


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
        "losses": trainer.loss_means.state_dict(),
        "data": trainer.data.train.state_dict(),
        "components": trainer.states.take(),
        "frozen": trainer.states.frozen(),
        "config": trainer.parts.config,
        "learned": learned_of(trainer.data),
        "ranks": [{"generators": rng_state(), "threads": torch.get_num_threads()}],
        "logs": trainer.log.flush(),
    }


@contextmanager
def put_back_if_interrupted(trainer: RunningTrainer) -> Iterator[None]:
    """An evaluation that is interrupted inside the block has changed nothing: done again, it gives the same."""
    undo, random = ForwardState(trainer.evaluated.values(), trainer.parts.criteria.values()), rng_state()
    before = trainer.states.hold()
    try:
        yield
    except Interrupted:
        undo()
        set_rng_state(random)
        trainer.states.held = before
        raise
