"""Collects outputs, targets and the worst samples in one evaluation pass, for test.py and callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from base.evaluation.first_batches import FirstBatch
from base.protocols import Unpacks
from utils.classification import (
    Bin,
    ClassScores,
    calibration,
    class_numbers,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    probabilities,
)

if TYPE_CHECKING:
    from base.loop.base_trainer import BaseTrainer
    from base.protocols import Loader


@dataclass
class SamplePrediction:
    """A sample with a poor prediction."""

    badness: float
    index: int
    """Its position in the dataset."""
    target: int
    prediction: int
    probability: float
    """The probability of the predicted class."""
    input: Tensor = field(repr=False)


@dataclass(frozen=True)
class Predictions:
    """Outputs and targets of a pass over a dataset, as tensors on the CPU with one row a sample; None if they have any
    other form. `scores` are those of the evaluation."""

    scores: dict[str, float]
    outputs: Tensor | None
    targets: Tensor | None
    classes: list[str]
    """Class names of a classification; else empty."""
    unlikely: list[SamplePrediction]
    """Samples whose true class has the lowest probability, the lowest first."""
    sure: list[SamplePrediction]
    """Samples with the highest probability for a wrong class, the highest first."""

    @property
    def probabilities(self) -> Tensor:
        """(N, C), for a classification."""
        assert self.outputs is not None
        return probabilities(self.outputs)

    @property
    def confusion(self) -> Tensor:
        """int64 (C, C), rows are the true classes."""
        assert self.outputs is not None and self.targets is not None
        return confusion_matrix(self.targets, self.outputs.argmax(1), len(self.classes))

    @property
    def class_scores(self) -> list[ClassScores]:
        return class_scores(self.confusion)

    @property
    def calibration(self) -> list[Bin]:
        assert self.targets is not None
        return calibration(self.probabilities, self.targets)

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.calibration)


def collect_predictions(trainer: BaseTrainer, loader: Loader, title: str, samples: int = 0) -> Predictions:
    """Evaluates as the trainer does and collects outputs, targets, and of a classification the worst `samples`.

    Raises `Interrupted` on a signal, as any evaluation does. Changes nothing in the trainer.
    """
    watched = _Watched(loader)
    collector = PredictionCollector(trainer, watched, samples)
    scores = trainer.evaluate(watched, title, collector.observe)
    outputs, targets = collector.concatenated()
    classes = class_names(trainer, outputs.shape[1]) if _is_classification(outputs, targets) else []
    return Predictions(scores, outputs, targets, classes, collector.worst["unlikely"], collector.worst["sure"])


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
    """Collects the outputs and targets of an evaluation, if they have one row of numbers a sample."""

    def __init__(self, trainer: BaseTrainer, watched: _Watched, samples: int) -> None:
        self.trainer, self.watched, self.samples = trainer, watched, samples
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.worst: dict[str, list[SamplePrediction]] = {"unlikely": [], "sure": []}
        self.seen, self.simple = 0, True

    def observe(self, output: Any, target: Any) -> None:
        self.simple &= all(isinstance(x, Tensor) and x.dim() in (1, 2) for x in (output, target))
        if not self.simple:
            self.outputs, self.targets = [], []
            return
        self.outputs.append(output.float().cpu())
        self.targets.append(class_numbers(target.cpu()))
        if self.samples and _is_classification(self.outputs[-1], self.targets[-1]):
            self._collect_worst(probabilities(self.outputs[-1]), self.targets[-1])
        self.seen += len(target)

    def concatenated(self) -> tuple[Any, Any]:
        if not self.simple or not self.outputs:
            return None, None
        return torch.cat(self.outputs), torch.cat(self.targets)

    def _collect_worst(self, chances: Tensor, targets: Tensor) -> None:
        inputs = input_of(self.trainer, self.watched.batch)
        if not isinstance(inputs, Tensor) or len(inputs) != len(targets):
            return
        own = chances.gather(1, targets[:, None])[:, 0]
        highest, predictions = chances.max(1)
        wrong = predictions != targets
        for kind, badness in (("unlikely", -own), ("sure", highest.where(wrong, -1.0))):
            found = [
                SamplePrediction(
                    float(badness[i]),
                    self.seen + i,
                    int(targets[i]),
                    int(predictions[i]),
                    float(highest[i]),
                    inputs[i].cpu(),
                )
                for i in badness.topk(min(self.samples, len(badness))).indices.tolist()
                if wrong[i]
            ]
            self.worst[kind] = sorted(self.worst[kind] + found, key=lambda s: -s.badness)[: self.samples]


def input_of(trainer: BaseTrainer, batch: Any) -> Any:
    """The model's input in a batch, by `Trainer.unpack` if the trainer has it."""
    if isinstance(trainer, Unpacks):
        return trainer.unpack(batch)[0]
    if isinstance(batch, Mapping):
        return batch.get(trainer.keys.input)
    return batch[0] if isinstance(batch, tuple | list) else batch


def _is_classification(outputs: Any, targets: Any) -> bool:
    """Outputs (B, C) with C > 1, and integer targets (B,) below C."""
    return (
        isinstance(outputs, Tensor)
        and outputs.dim() == 2
        and outputs.shape[1] > 1
        and targets.dim() == 1
        and not targets.is_floating_point()
        and bool(((targets >= 0) & (targets < outputs.shape[1])).all())
    )
