"""Results of a classification and its worst samples from one evaluation pass, for test.py and callbacks."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from base.checks.loss_checks import losses_in
from base.evaluation.first_batches import FirstBatch
from base.evaluation.results import ClassResults
from base.evaluation.table import Table, add_classes, add_numbers
from base.evaluation.worst import SamplePrediction, WorstSamples
from base.protocols import Unpacks
from utils.classification import PROBABILITIES, TaskReader, UnclearTask, class_numbers
from utils.formatting import pluralize

if TYPE_CHECKING:
    from base.loop.base_trainer import BaseTrainer
    from base.protocols import Loader

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predictions:
    """What an evaluation gave: the `scores` of the losses and metrics, and of a classification all else."""

    scores: dict[str, float]
    results: ClassResults | None
    """None where outputs and targets are not those of a classification."""
    classes: list[str]
    """The names of the classes or labels, or their numbers as texts; empty without results."""
    worst: dict[str, list[SamplePrediction]]
    """By title, the worst first."""


def collect_predictions(
    trainer: BaseTrainer, loader: Loader, title: str, samples: int = 0, table: Table | None = None
) -> Predictions:
    """Evaluates as the trainer does, and counts a classification's results batch by batch.

    The run's first metric of a classification says how outputs and targets are read; without one their shapes do.
    `samples` is how many of the worst are kept, `table` gets a line for each sample. Raises `Interrupted` on a signal,
    as any evaluation does. Changes nothing in the trainer.
    """
    watched = _Watched(loader)
    collector = PredictionCollector(trainer, watched, samples, table)
    scores = trainer.evaluate(watched, title, collector.observe)
    results = collector.results if collector.seen else None
    if results is not None and not collector.told and results.may_be_probabilities:
        log.warning(PROBABILITIES, "the evaluation")
    return Predictions(scores, results, collector.classes if results else [], collector.worst.found if results else {})


def watch_layers(
    trainer: BaseTrainer, loader: Loader, kinds: tuple[type[nn.Module], ...], note: Callable[..., None]
) -> None:
    """Evaluates the first batch and calls `note(name, layer, inputs, output)` for each layer of one of the `kinds`."""
    models, handles = trainer.evaluated, []
    for model_name, model in models.items():
        for name, layer in model.named_modules():
            if isinstance(layer, kinds):
                path = f"{model_name}.{name}" if len(models) > 1 else name
                handles.append(layer.register_forward_hook(functools.partial(note, path)))
    try:
        trainer.evaluate(FirstBatch(loader), "a look inside")
    finally:
        for handle in handles:
            handle.remove()


def class_names(trainer: BaseTrainer, count: int) -> list[str]:
    """The dataset's class names, else the class numbers."""
    names: Sequence[str] = trainer.data.decisions.get("classes") or []
    return list(names) if len(names) == count else [str(number) for number in range(count)]


def _are_named(classes: Sequence[str]) -> bool:
    return list(classes) != [str(number) for number in range(len(classes))]


class _Watched:
    """A loader that remembers its latest batch."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.name, self.size = loader, loader.name, loader.size
        self.batch_size, self.workers = loader.batch_size, loader.workers
        self.batch: Any = None

    def __len__(self) -> int:
        return len(self.loader)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        for batch in self.loader.batches(pass_, start):
            self.batch = batch
            yield batch


class PredictionCollector:
    """Follows an evaluation. A first batch of no classification whose outputs and targets are rows of numbers gives a
    table of these; any other nothing."""

    def __init__(self, trainer: BaseTrainer, watched: _Watched, samples: int, table: Table | None) -> None:
        self.trainer, self.watched, self.table = trainer, watched, table
        reader, self.parts = _reader_of(trainer)
        self.told = reader is not None
        """Whether a metric says how to read."""
        self.results: ClassResults | None = ClassResults(reader or _by_loss(trainer))
        self.worst = WorstSamples(samples)
        self.classes: list[str] = []
        self.seen = 0

    def observe(self, output: Any, target: Any) -> None:
        if self.parts is not None:
            output, target = self.parts.of(output, target)
        if self.results is not None:
            why = self._count(self.results, output, target)
            if why is not None:
                self._give_up(why)
        if self.results is None and self.table is not None:
            if all(isinstance(x, Tensor) and x.dim() in (1, 2) for x in (output, target)):
                add_numbers(self.table, output.float().cpu(), class_numbers(target.cpu()))
            else:
                self.table.drop()
                self.table = None
        self.seen += len(target) if isinstance(target, Tensor) and target.dim() else 0

    def _count(self, results: ClassResults, output: Any, target: Any) -> str | None:
        """Why this is no batch of the classification."""
        if self.seen and not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            return f"{type(output).__name__} and {type(target).__name__} after tensors"
        try:
            batch = results.add(output, target)
        except UnclearTask as error:
            return str(error)
        if results.strange:
            return f"{pluralize(results.strange, 'target')} of no class"
        if not self.seen:
            self.classes = class_names(self.trainer, results.names)
        if self.table is not None:
            add_classes(self.table, results, batch, self.classes, named=_are_named(self.classes))
        inputs = input_of(self.trainer, self.watched.batch)
        if self.worst.count and isinstance(inputs, Tensor) and len(inputs) == len(target):
            self.worst.add(results, batch, inputs, self.seen, self.classes)
        return None

    def _give_up(self, why: str) -> None:
        self.results = None
        if self.seen:
            log.warning("nothing is written of the classes: the first batch was read as a classification, then %s", why)
            if self.table is not None:
                self.table.drop()
                self.table = None


def _reader_of(trainer: BaseTrainer) -> tuple[TaskReader | None, Any]:
    """How the run's first metric of a classification reads, and which parts of output and target it takes."""
    for metric in trainer.eval_metrics.values():
        reader = getattr(getattr(metric, "metric", metric), "reader", None)
        if isinstance(reader, TaskReader):
            return copy.copy(reader), getattr(metric, "parts", None)
    return None, None


def _by_loss(trainer: BaseTrainer) -> TaskReader:
    """What the shapes say; outputs that BCELoss takes are probabilities."""
    losses = [loss for criterion in trainer.criteria.values() for _, loss in losses_in(criterion, "")]
    return TaskReader(threshold=0.5 if any(isinstance(loss, nn.BCELoss) for loss in losses) else 0.0)


def input_of(trainer: BaseTrainer, batch: Any) -> Any:
    """The model's input in a batch, by `Trainer.unpack` if the trainer has it."""
    if isinstance(trainer, Unpacks):
        return trainer.unpack(batch)[0]
    if isinstance(batch, Mapping):
        return batch.get(trainer.keys.input)
    return batch[0] if isinstance(batch, tuple | list) else batch
