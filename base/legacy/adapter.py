"""What a trainer written for pytorch-template is given: its base class, `config`, writer and loaders.

    from base import BaseTrainer

    class Trainer(BaseTrainer):
        def __init__(self, model, criterion, metric_ftns, optimizer, config, device, data_loader,
                     valid_data_loader=None, lr_scheduler=None, len_epoch=None):
            super().__init__(model, criterion, metric_ftns, optimizer, config)
            ...
        def _train_epoch(self, epoch): ...

`from base import BaseTrainer` means two things: who writes `train_step` learns by the framework's loop, who writes
`_train_epoch(epoch)` brings a loop. The latter's base is exchanged for TemplateTrainer when the class is made; the run
itself is a `base.legacy.epoch_trainer.EpochTrainer`, which owns an object of it.
"""

from __future__ import annotations

import logging
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from base.loop.stopping import batches_of
from base.protocols import EventWriter

if TYPE_CHECKING:
    import torch
    from torch import nn

    from base.config import Config
    from base.legacy.epoch_trainer import EpochTrainer
    from base.loop.stopping import StopRequest
    from base.protocols import Loader

_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class TemplateConfig(Mapping[str, Any]):
    """Reads as the run's config, `config["trainer"]["epochs"]`, with the names that ConfigParser has. It is read-only:
    what was decided when the run began holds for all of it.
    """

    def __init__(self, config: Config, run: EpochTrainer) -> None:
        self.config, self.run = config, run
        self.resume: Path | None = None

    def __getitem__(self, key: str) -> Any:
        return self.config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.config)

    def __len__(self) -> int:
        return len(self.config)

    @property
    def save_dir(self) -> Path:
        """The run's folder, which is `log_dir`, too."""
        return self.run.folder

    @property
    def log_dir(self) -> Path:
        return self.run.folder

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """Writes to the console and train.log; `verbosity` 2 with details, 1 without, 0 warnings only."""
        logger = logging.getLogger(name)
        logger.setLevel(_LEVELS[verbosity])
        return logger


class TemplateWriter:
    """`event_writer` gives the run's writer of the moment. Scalars of a batch are tagged `loss/step`, of a batch of
    validation data `loss/valid_step`, beside the epoch's `loss/train` and `loss/val`, which the run writes itself.
    """

    def __init__(self, event_writer: Callable[[], EventWriter]) -> None:
        self.event_writer = event_writer
        self.step, self.mode = 0, ""
        self.muted = False

    def set_step(self, step: int, mode: str = "train") -> None:
        self.step, self.mode = step, mode

    def add_scalar(self, tag: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if not self.muted:
            kind = "step" if self.mode in ("", "train") else f"{self.mode}_step"
            self.event_writer().add_scalar(f"{tag}/{kind}", float(value), self.step)

    def add_scalars(self, main_tag: str, values: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        for name, value in values.items():
            self.add_scalar(f"{main_tag}/{name}", value)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """add_image, add_figure, add_text ... of the run's writer; those that it lacks do nothing, as there without
        TensorBoard."""
        if not name.startswith("add_"):
            raise AttributeError(f"the writer has no attribute {name!r}")

        def add(tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
            method = getattr(self.event_writer(), name, None)
            if method is not None and not self.muted:
                place = tag if name == "add_histogram" or not self.mode else f"{tag}/{self.mode}"
                method(place, data, self.step, *args, **kwargs)

        return add


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


class NamedMetric:
    """A metric with the name under which the run logs it, which those trainers read from `__name__`."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self.function = name, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)
