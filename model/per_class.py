"""Metrics that look at each class, from one confusion matrix that they share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from base.base_metric import Metric
from base.registry import METRICS
from model.metrics import classes
from utils.classification import confusion_matrix


class Confusion:
    """How often each class was taken for each: int64 (C, C), a row a class of the targets."""

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
        """From here on the other counts, for both."""
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
        """(C,) each, float64: samples of a class that were taken for it, those of it, those taken for it."""

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self.confusion.counts if self.counts_itself else None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.counts_itself:
            self.confusion.counts = state["counts"]


@METRICS.register("precision")
class Precision(PerClass):
    """Of what was taken for a class, the share that is of it; 0 where nothing was."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return hits / predicted.clamp(min=1)


@METRICS.register("recall")
class Recall(PerClass):
    """Of the samples of a class, the share that was taken for it; 0 where there are none."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return hits / actual.clamp(min=1)


@METRICS.register("f1")
class F1(PerClass):
    """The harmonic mean of precision and recall of each class, 2 hits / (actual + predicted)."""

    def of_classes(self, hits: Tensor, actual: Tensor, predicted: Tensor) -> Tensor:
        return 2 * hits / (actual + predicted).clamp(min=1)
