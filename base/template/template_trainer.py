"""Trainers written for pytorch-template: classes with an epoch of their own, `_train_epoch(epoch)`, as they stand.

    from base import BaseTrainer

    class Trainer(BaseTrainer):
        def __init__(self, model, criterion, metric_ftns, optimizer, config, device, data_loader,
                     valid_data_loader=None, lr_scheduler=None, len_epoch=None):
            super().__init__(model, criterion, metric_ftns, optimizer, config)
            ...
        def _train_epoch(self, epoch): ...

`from base import BaseTrainer` means two things: who writes `train_step` learns by the framework's loop, who writes
`_train_epoch(epoch)` brings a loop. The latter's base is exchanged for TemplateTrainer when the class is made; the run
itself is a `base.template.epoch_trainer.EpochTrainer`, which owns an object of it.
"""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from base.passes import batches_of
from base.template.template_config import TemplateConfig

if TYPE_CHECKING:
    import torch
    from torch import nn

    from base.protocols import Loader
    from base.signals import StopRequest
    from base.template.epoch_trainer import EpochTrainer
    from base.template.template_writer import TemplateWriter


class TemplateTrainer(ABC):  # as BaseTrainer is one: else Python would not exchange them
    """What pytorch-template's BaseTrainer gives its subclasses; saving, resuming and best are the run's own matter."""

    supplied_by_program: ClassVar[tuple[str, ...]] = (
        *("model", "criterion", "loss", "metric_ftns", "metrics", "optimizer", "resume", "config", "device"),
        *("data_loader", "train_data_loader", "train_loader", "valid_data_loader", "val_data_loader", "valid_loader"),
        *("val_loader", "test_data_loader", "test_loader", "lr_scheduler", "scheduler", "len_epoch", "train_logger"),
    )
    """Arguments of a subclass's constructor that are filled in by their names; all others come from `trainer.args`."""

    model: nn.Module
    device: torch.device
    logger: logging.Logger
    writer: TemplateWriter
    data_loader: Any

    def __init__(
        self, model: Any, criterion: Any, metric_ftns: Any, optimizer: Any, *others: Any, **named: Any
    ) -> None:
        """`others` are what the years differ in; the config is among them. TypeError if it is not."""
        config = next((x for x in (*others, *named.values()) if isinstance(x, TemplateConfig)), None)
        if config is None:
            raise TypeError(f"{type(self).__name__} must hand its `config` on to super().__init__")
        self._run: EpochTrainer = config.run
        self.config = config
        self.logger, self.writer = config.get_logger("trainer"), config.run.writer
        self.model, self.criterion, self.metric_ftns, self.optimizer = model, criterion, metric_ftns, optimizer
        self.loss, self.metrics = criterion, metric_ftns  # the names before September 2019
        self.device = config.run.device
        self.start_epoch, self.epochs = 1, config.run.epochs

    @property
    def checkpoint_dir(self) -> Path:
        """The run's folder. RuntimeError before there is one, in a constructor."""
        return self._run.folder

    @property
    def mnt_best(self) -> float:
        """The best value of the monitored name so far, else what every value is better than."""
        monitor = self._run.monitor
        worst = float("inf") if monitor.mode == "min" else -float("inf")
        return worst if monitor.best is None else monitor.best

    @property
    def mnt_mode(self) -> str:
        return self._run.monitor.mode if self._run.monitor.name else "off"

    @property
    def mnt_metric(self) -> str:
        return self._run.monitor.name

    def _progress(self, batch_idx: int) -> str:
        """`[640/54000 (1%)]`"""
        loader = self.data_loader
        if hasattr(loader, "n_samples"):
            current, total = batch_idx * loader.batch_size, loader.n_samples
        else:
            current, total = batch_idx, getattr(self, "len_epoch", self._run.steps_per_epoch)
        return f"[{current}/{total} ({100.0 * current / total:.0f}%)]"


def adapt(cls: type, base: type) -> None:
    """Exchanges `base` for TemplateTrainer in the ancestry of a class that brings an epoch of its own."""
    own = vars(cls).get("_train_epoch")
    code = getattr(own, "__code__", None)
    if code is None or code.co_argcount < 2:  # the framework's own takes no epoch
        return
    for ancestor in cls.__mro__[:-1]:
        if base in ancestor.__bases__ and "train_step" not in vars(ancestor):
            ancestor.__bases__ = tuple(TemplateTrainer if one is base else one for one in ancestor.__bases__)


class Batches:
    """A loader of the framework as those trainers iterate one: each epoch is a pass."""

    def __init__(self, loader: Loader, request: StopRequest, pass_: Callable[[], int]) -> None:
        self.loader, self.request, self.pass_ = loader, request, pass_
        self.batch_size, self.n_samples = loader.batch_size, loader.size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return batches_of(self.loader, self.request, self.pass_())


class Named:
    """A metric with the name under which the run logs it, which those trainers read from `__name__`."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self.function = name, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)
