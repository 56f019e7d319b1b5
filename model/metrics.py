"""Metrics: accuracy, precision, recall, F1, and errors of regressions, exact over an epoch."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from base.loop.metrics import Metric, widest
from base.registry import METRICS
from utils.classification import class_numbers, confusion_matrix


@METRICS.register
def accuracy(output: Tensor, target: Tensor) -> Tensor:
    """Share of samples whose largest output is the target's class.

    (B, C) logits or probabilities; target (B,) integer classes or (B, C) one-hot or soft -> (B,) 0 or 1.
    """
    return (output.argmax(1) == classes(target)).float()


@METRICS.register
def top_k_accuracy(output: Tensor, target: Tensor, k: int = 3) -> Tensor:
    """Share of samples whose class is among the `k` largest outputs; shapes as in `accuracy`."""
    return (output.topk(k, dim=1).indices == classes(target).unsqueeze(1)).any(1).float()


def classes(target: Tensor) -> Tensor:
    """(B,) classes of a target that may be one-hot or soft, or integers of any width."""
    return target.argmax(1) if target.dim() > 1 else class_numbers(target)


class Confusion:
    """Counts of (target class, predicted class): int64 (C, C), a row for each target class."""

    def __init__(self) -> None:
        self.counts: Tensor | None = None

    def add(self, output: Tensor, target: Tensor) -> None:
        counts = confusion_matrix(classes(target), output.argmax(1), output.shape[1])
        self.counts = counts if self.counts is None else self.counts + counts


class PerClass(Metric):
    """(B, C) logits or probabilities; target (B,) integer classes or (B, C) one-hot or soft.

    `average`: macro is the mean over the classes that occur, in the targets or the outputs; weighted counts each by its
    share of the targets; none gives a value a class, logged as `recall_0` and so on.
    """

    in_blocks = True

    def __init__(self, average: Literal["macro", "weighted", "none"] = "macro") -> None:
        self.average = average
        self.confusion, self.counts_itself = Confusion(), True
        super().__init__()

    def share(self, other: PerClass) -> None:
        """From now on the other metric counts for both."""
        self.confusion, self.counts_itself = other.confusion, False

    def reset(self) -> None:
        self.confusion.counts = None

    def update(self, output: Tensor, target: Tensor) -> None:
        if self.counts_itself:
            self.confusion.add(output, target)

    def compute(self) -> Tensor:
        if self.confusion.counts is None:
            return torch.tensor(float("nan"))
        counts = self.confusion.counts.double()
        hits, actual, predicted = counts.diag(), counts.sum(1), counts.sum(0)
        values = self.of_classes(hits, actual, predicted)
        if self.average == "none":
            return values
        weights = actual if self.average == "weighted" else ((actual + predicted) > 0).double()
        return (values * weights).sum() / weights.sum()

    @abstractmethod
    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        """(C,) each, float64: correct predictions of a class, its samples, its predictions."""

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.confusion.counts if self.counts_itself else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.counts_itself:
            self.confusion.counts = state["counts"]


@METRICS.register("precision")
class Precision(PerClass):
    """The share of the predictions of a class that are right; 0 without predictions."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return hits / predicted.clamp(min=1)


@METRICS.register("recall")
class Recall(PerClass):
    """The share of the samples of a class that are found; 0 without samples."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return hits / actual.clamp(min=1)


@METRICS.register("f1")
class F1(PerClass):
    """The harmonic mean of precision and recall of each class, 2 hits / (actual + predicted)."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return 2 * hits / (actual + predicted).clamp(min=1)


@METRICS.register
def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (output - target).square().flatten(1).mean(1)


@METRICS.register
def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (output - target).abs().flatten(1).mean(1)


@METRICS.register
class R2(Metric):
    """The share of the target's variance that is explained: 1 less the squared errors over the squared differences from
    the target's mean, over all values of the epoch together. NaN if the target never varies.

    Targets are summed as differences from the first of them, "shifted data" in Chan, Golub and LeVeque, Algorithms for
    Computing the Sample Variance, The American Statistician 37(3), 1983: squares of large numbers would leave no digits
    for a small variance.
    """

    in_blocks = True

    def reset(self) -> None:
        self.count = 0
        self.shift: Tensor | float = 0.0
        self.sums: Tensor | None = None
        """Sums of squared errors, of shifted targets and of their squares: (3,) on the device."""

    def update(self, output: Tensor, target: Tensor) -> None:
        kind = widest(target)
        values = target.to(kind)
        if self.sums is None:
            self.shift = values.flatten()[0].clone()
        shifted = values - self.shift
        sums = torch.stack([x.sum() for x in ((output.to(kind) - values).square(), shifted, shifted.square())])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += target.numel()

    def compute(self) -> float:
        if self.sums is None:
            return float("nan")
        errors, total, squares = self.sums.tolist()
        variance = squares - total * total / self.count
        return 1 - errors / variance if variance > 0 else float("nan")
