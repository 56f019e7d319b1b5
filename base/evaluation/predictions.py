"""Collects outputs, targets and the worst samples in one evaluation pass, for test.py and callbacks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from base.loop.first_batches import FirstBatch
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
    """A sample that the model did badly on."""

    badness: float
    index: int
    """Its position in the dataset's order."""
    target: int
    prediction: int
    probability: float
    """Of what was predicted."""
    input: Tensor = field(repr=False)


@dataclass(frozen=True)
class Predictions:
    """Of a pass over a dataset, in its order: the outputs and targets, tensors on the CPU with one row a sample; None
    if they are anything else. `scores` are what an evaluation gives."""

    scores: dict[str, float]
    outputs: Tensor | None
    targets: Tensor | None
    classes: list[str]
    """Of a classification, the classes by name; else empty."""
    unlikely: list[SamplePrediction]
    """Those whose own class got the lowest probability, the lowest first."""
    sure: list[SamplePrediction]
    """Those that were taken for a wrong class with the highest probability, the highest first."""

    @property
    def probabilities(self) -> Tensor:
        """(N, C), of a classification."""
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
    """Evaluates as the trainer does, and keeps outputs and targets, and of a classification the worst `samples`.

    `Interrupted` on a signal, as from any evaluation. Nothing of the trainer is changed.
    """
    watched = _Watched(loader)
    keeper = PredictionCollector(trainer, watched, samples)
    scores = trainer.evaluate(watched, title, keeper.observe)
    outputs, targets = keeper.together()
    classes = class_names(trainer, outputs.shape[1]) if _is_classification(outputs, targets) else []
    return Predictions(scores, outputs, targets, classes, keeper.unlikely, keeper.sure)


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
    """As the dataset calls them, else their numbers."""
    names: Sequence[str] = trainer.data.decisions.get("classes") or []
    return list(names) if len(names) == count else [str(number) for number in range(count)]


class _Watched:
    """A loader that remembers the batch it gave last."""

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
    """Keeps the outputs and targets of an evaluation, as long as they have one row of numbers a sample."""

    def __init__(self, trainer: BaseTrainer, watched: _Watched, samples: int) -> None:
        self.trainer, self.watched, self.samples = trainer, watched, samples
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []
        self.unlikely: list[SamplePrediction] = []
        self.sure: list[SamplePrediction] = []
        self.seen, self.simple = 0, True

    def observe(self, output: Any, target: Any) -> None:
        self.simple &= all(isinstance(x, Tensor) and x.dim() in (1, 2) for x in (output, target))
        if not self.simple:
            self.outputs, self.targets = [], []
            return
        self.outputs.append(output.float().cpu())
        self.targets.append(class_numbers(target.cpu()))
        if self.samples and _is_classification(self.outputs[-1], self.targets[-1]):
            self._judge(probabilities(self.outputs[-1]), self.targets[-1])
        self.seen += len(target)

    def together(self) -> tuple[Any, Any]:
        if not self.simple or not self.outputs:
            return None, None
        return torch.cat(self.outputs), torch.cat(self.targets)

    def _judge(self, chances: Tensor, targets: Tensor) -> None:
        inputs = input_of(self.trainer, self.watched.batch)
        if not isinstance(inputs, Tensor) or len(inputs) != len(targets):
            return
        own = chances.gather(1, targets[:, None])[:, 0]
        highest, predictions = chances.max(1)
        for worst, badness in (("unlikely", -own), ("sure", highest.where(predictions != targets, -1.0))):
            found = [
                SamplePrediction(
                    float(badness[i]), self.seen + i, *_said(i, targets, predictions, highest), inputs[i].cpu()
                )
                for i in badness.topk(min(self.samples, len(badness))).indices.tolist()
                if predictions[i] != targets[i]
            ]
            setattr(self, worst, sorted(getattr(self, worst) + found, key=lambda s: -s.badness)[: self.samples])


def _said(i: int, targets: Tensor, predictions: Tensor, highest: Tensor) -> tuple[int, int, float]:
    return int(targets[i]), int(predictions[i]), float(highest[i])


def input_of(trainer: Any, batch: Any) -> Any:
    """What of a batch the model is given, by `Trainer.unpack` if there is one."""
    if isinstance(trainer, Unpacks):
        return trainer.unpack(batch)[0]
    if isinstance(batch, Mapping):
        return batch.get(trainer.keys.input)
    return batch[0] if isinstance(batch, tuple | list) else batch


def _is_classification(outputs: Any, targets: Any) -> bool:
    """(B, C) outputs of two classes or more, whole numbers (B,) below C as targets."""
    return (
        isinstance(outputs, Tensor)
        and outputs.dim() == 2
        and outputs.shape[1] > 1
        and targets.dim() == 1
        and not targets.is_floating_point()
        and bool(((targets >= 0) & (targets < outputs.shape[1])).all())
    )
