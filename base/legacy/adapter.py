"""The base class, config, writer and loaders for trainers that were written for pytorch-template.

    from base import BaseTrainer

    class Trainer(BaseTrainer):
        def __init__(self, model, criterion, metric_ftns, optimizer, config, device, data_loader,
                     valid_data_loader=None, lr_scheduler=None, len_epoch=None):
            super().__init__(model, criterion, metric_ftns, optimizer, config)
            ...
        def _train_epoch(self, epoch): ...

A subclass of BaseTrainer defines `train_step` to use the framework's loop, or `_train_epoch(epoch)` as its own. For the
latter, `with_template_base` makes a subclass whose `super()` calls lead to TemplateTrainer. The run itself is a
`base.legacy.epoch_trainer.EpochTrainer`, which owns an object of that subclass.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from base.loop.base_trainer import BaseTrainer
from base.loop.stopping import batches_of
from base.protocols import EventWriter

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from base.config import Config
    from base.loop.stopping import StopRequest
    from base.protocols import Loader

_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class TemplateConfig(Mapping[str, Any]):
    """The run's config, `config["trainer"]["epochs"]`, with the attributes of ConfigParser. It is read-only."""

    def __init__(self, config: Config, run: BaseTrainer, writer: TemplateWriter) -> None:
        self.config, self.run, self.writer = config, run, writer
        self.resume: Path | None = None

    def __getitem__(self, key: str) -> Any:
        return self.config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.config)

    def __len__(self) -> int:
        return len(self.config)

    @property
    def save_dir(self) -> Path:
        """The run's folder, as is `log_dir`. RuntimeError in a constructor, where the folder does not exist yet."""
        return _folder_of(self.run)

    @property
    def log_dir(self) -> Path:
        return _folder_of(self.run)

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """Logs to the console and train.log; `verbosity` 2 includes details, 1 does not, 0 is warnings only."""
        logger = logging.getLogger(name)
        logger.setLevel(_LEVELS[verbosity])
        return logger


def _folder_of(run: BaseTrainer) -> Path:
    if run.store is None:
        raise RuntimeError("the run has no folder yet: ask for it in _train_epoch, not in the constructor")
    return run.store.folder.parent


class TemplateWriter:
    """Writes to TensorBoard through `event_writer()`, the run's current writer. Scalars of a batch are tagged
    `loss/step`, or `loss/valid_step` for validation; the run itself writes `loss/train` and `loss/val` each epoch.
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
        """add_image, add_figure, add_text ... of the run's writer. What it lacks does nothing, as in pytorch-template
        without TensorBoard."""
        if not name.startswith("add_"):
            raise AttributeError(f"the writer has no attribute {name!r}")

        def add(tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
            method = getattr(self.event_writer(), name, None)
            if method is not None and not self.muted:
                place = tag if name == "add_histogram" or not self.mode else f"{tag}/{self.mode}"
                method(place, data, self.step, *args, **kwargs)

        return add


class TemplateTrainer(BaseTrainer):
    """The attributes of pytorch-template's BaseTrainer. The run itself saves, resumes and tracks the best epoch.

    This class never calls BaseTrainer's constructor, so nothing of the loop works here. It is a subclass only to
    precede BaseTrainer in the method resolution order.
    """

    model: Any = None  # users' trainers assign to names that are read-only properties of BaseTrainer
    criterion: Any = None
    optimizer: Any = None
    evaluated: Any = None
    metrics: Any
    device: torch.device
    logger: logging.Logger
    writer: TemplateWriter
    data_loader: Any

    def __init__(
        self, model: Any, criterion: Any, metric_ftns: Any, optimizer: Any, *others: Any, **named: Any
    ) -> None:
        """`others` vary between versions of pytorch-template. TypeError if the config is not among them."""
        config = next((x for x in (*others, *named.values()) if isinstance(x, TemplateConfig)), None)
        if config is None:
            raise TypeError(f"{type(self).__name__} must pass its `config` to super().__init__")
        self._run = config.run
        self.config = config
        self.logger, self.writer = config.get_logger("trainer"), config.writer
        self.model, self.criterion, self.metric_ftns, self.optimizer = model, criterion, metric_ftns, optimizer
        self.loss, self.metrics = criterion, metric_ftns  # the names before September 2019
        self.device = config.run.device
        self.start_epoch, self.epochs = 1, config.run.epochs

    def train_step(self, batch: Any) -> dict[str, Tensor]:
        raise AssertionError("_train_epoch takes the steps itself")

    eval_step = train_step

    @property
    def checkpoint_dir(self) -> Path:
        """The run's folder. RuntimeError in a constructor, where it does not exist yet."""
        return _folder_of(self._run)

    @property
    def mnt_best(self) -> float:
        """The best monitored value so far; plus or minus infinity before the first."""
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


@functools.cache
def with_template_base(kind: type[BaseTrainer]) -> type[TemplateTrainer]:
    """A subclass of `kind`, of the same name, in which TemplateTrainer stands between `kind` and BaseTrainer."""
    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind, TemplateTrainer), names)


@runtime_checkable
class Validates(Protocol):
    """A trainer that can be tested."""

    def _valid_epoch(self, epoch: int) -> Any: ...


class Batches:
    """Lets such a trainer iterate over a loader of the framework: each `for` loop is one pass."""

    def __init__(self, loader: Loader, request: StopRequest, pass_: Callable[[], int]) -> None:
        self.loader, self.request, self.pass_ = loader, request, pass_
        self.batch_size, self.n_samples = loader.batch_size, loader.size

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        return batches_of(self.loader, self.request, self.pass_())


class NamedMetric:
    """A metric whose `__name__` is the name under which the run logs it, as such trainers expect."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.__name__, self.function = name, function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **kwargs)
