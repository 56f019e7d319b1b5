"""Metrics of classification and regression, exact over an epoch."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from base.errors import MetricError
from base.loop.metrics import Metric, widest
from base.registry import METRICS
from utils.classification import ENOUGH, PROBABILITIES, Read, Task, TaskReader, UnclearTask
from utils.formatting import pluralize

Average = Literal["micro", "macro", "weighted", "none"]
log = logging.getLogger(__name__)


class ClassificationMetric(Metric):
    """A metric of predicted and true classes; `utils.classification.TaskReader` says which shapes it takes and what its
    arguments mean. Targets that the task does not know, and probabilities that are cut as logits, are noticed when
    the value is computed."""

    in_blocks = True

    def __init__(
        self,
        task: Task | None = None,
        class_dim: int | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.0,
    ) -> None:
        self.reader = TaskReader(task, class_dim, ignore_index, threshold)
        self.warned = False
        super().__init__()

    def reset(self) -> None:
        self.strange: Tensor | int = 0
        self.unit: Tensor | bool = True
        """Whether all outputs lay in 0 to 1."""
        self.outputs = 0

    def read(self, output: Tensor, target: Tensor) -> Read:
        try:
            read = self.reader.read(output, target)
        except UnclearTask as error:
            raise MetricError(self, str(error)) from None
        self.strange = self.strange + read.strange
        if self.reader.task != "multiclass" and not self.warned:
            self.unit = self.unit & (output >= 0).all() & (output <= 1).all()
            self.outputs += output.numel()
        return read

    def check(self) -> None:
        """Before a value is told."""
        if strange := int(self.strange):
            classes = self.reader.task == "multiclass"
            what = "no class of the outputs, or no row that sums to 1" if classes else "outside 0 to 1"
            hint = "for targets that do not count say args: {ignore_index: ...}"
            raise MetricError(
                self, f"{pluralize(strange, 'target')} found that {'is' if strange == 1 else 'are'} {what}; {hint}"
            )
        if self.outputs >= ENOUGH and self.reader.threshold == 0 and not self.warned and bool(self.unit):
            self.warned = True
            log.warning(PROBABILITIES, type(self).__name__)

    def state_dict(self) -> dict[str, Any]:
        return {"strange": self.strange, "reader": self.reader.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.strange = state.get("strange", 0)
        self.reader.load_state_dict(state.get("reader", {}))


class Share(ClassificationMetric):
    """Hits over positions that count."""

    def reset(self) -> None:
        super().reset()
        self.total: Tensor | float = 0.0
        self.count: Tensor | int = 0

    def add(self, hits: Tensor, kept: Tensor) -> None:
        self.total, self.count = self.total + (hits & kept).sum(), self.count + kept.sum()

    def compute(self) -> float:
        self.check()
        count = int(self.count)
        return float(self.total) / count if count else float("nan")

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count, **super().state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.total, self.count = state["total"], state["count"]


@METRICS.register("accuracy")
class Accuracy(Share):
    """The share of the samples, positions or labels whose class was predicted."""

    def update(self, output: Tensor, target: Tensor) -> None:
        read = self.read(output, target)
        self.add(read.predicted == read.true, read.kept)


@METRICS.register("top_k_accuracy")
class TopKAccuracy(Share):
    """The share of the samples or positions whose class is among the `k` largest outputs; multiclass alone."""

    def __init__(
        self, k: int = 3, task: Task | None = None, class_dim: int | None = None, ignore_index: int | None = None
    ) -> None:
        self.k = k
        super().__init__(task, class_dim, ignore_index)

    def update(self, output: Tensor, target: Tensor) -> None:
        read, dim = self.read(output, target), self.reader.class_dim
        if dim is None:
            raise MetricError(self, "it ranks classes: the task must be multiclass")
        if self.k > output.shape[dim]:
            raise MetricError(self, f"k is {self.k}, and there are {output.shape[dim]} classes")
        self.add((output.topk(self.k, dim).indices == read.true.unsqueeze(dim)).any(dim), read.kept)


class ClassCounts:
    """int64 (3, C) for each class or label: hits, predicted, true; one row's sum is the positions that count."""

    def __init__(self) -> None:
        self.table: Tensor | None = None

    def add(self, read: Read, classes: int) -> None:
        found = label_counts(read) if read.predicted.dtype == torch.bool else class_counts(read, classes)
        self.table = found if self.table is None else self.table + found


def class_counts(read: Read, classes: int) -> Tensor:
    kept = read.kept.flatten().long()
    true, predicted = (x.flatten().clamp(0, classes - 1) for x in (read.true, read.predicted))
    table = torch.zeros(3, classes, dtype=torch.int64, device=kept.device)
    for row, (places, counted) in enumerate(((true, kept * (true == predicted)), (predicted, kept), (true, kept))):
        table[row].scatter_add_(0, places, counted)  # bincount would wait for the device
    return table


def label_counts(read: Read) -> Tensor:
    predicted, true, kept = (x.flatten(2) if x.dim() > 2 else x for x in (read.predicted, read.true, read.kept))
    dims = [d for d in range(true.dim()) if d != 1] if true.dim() > 1 else [0]
    return torch.stack([x.sum(dims).view(-1) for x in (predicted & true & kept, predicted & kept, true & kept)])


class PerClass(ClassificationMetric):
    """A ratio of counts for each class, or label, or of the positive class of a binary task.

    `average`: macro is the mean over the classes that occur, in the targets or the outputs; weighted counts each by its
    share of the targets; micro sums the counts of all first; none gives a value a class, logged as `recall_0` and so
    on. A class that is `ignore_index` has no targets.
    """

    def __init__(
        self,
        average: Average = "macro",
        task: Task | None = None,
        class_dim: int | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.0,
    ) -> None:
        self.average = average
        self.counts, self.counts_itself = ClassCounts(), True
        super().__init__(task, class_dim, ignore_index, threshold)

    @property
    def counted(self) -> object:
        """Metrics for which this is equal, of the same outputs and targets, count the same."""
        return self.reader.settings

    def share(self, other: PerClass) -> None:
        """From here on the other counts, for both."""
        self.counts, self.reader, self.counts_itself = other.counts, other.reader, False

    def alone(self) -> PerClass:
        metric = super().alone()
        assert isinstance(metric, PerClass)
        metric.counts_itself = True
        return metric

    def reset(self) -> None:
        super().reset()
        self.counts.table = None

    def update(self, output: Tensor, target: Tensor) -> None:
        if self.counts_itself:
            read = self.read(output, target)
            if self.reader.task == "binary":
                read = Read(read.predicted.flatten(), read.true.flatten(), read.kept.flatten(), read.strange)
            self.counts.add(read, output.shape[self.reader.class_dim] if self.reader.class_dim is not None else 0)

    def compute(self) -> Tensor:
        self.check()
        if self.counts.table is None:
            return torch.tensor(float("nan"))
        table = self.of_interest(self.counts.table.cpu().to(torch.float64))  # MPS has no float64
        hits, predicted, actual = table.sum(1, keepdim=True) if self.average == "micro" else table
        values = self.of_classes(hits, predicted, actual)
        if self.average == "none":
            return values
        weights = actual if self.average == "weighted" else ((actual + predicted) > 0).to(table.dtype)
        mean: Tensor = (values * weights).sum() / weights.sum()
        return mean

    def of_interest(self, table: Tensor) -> Tensor:
        """The columns that an average is taken of."""
        return table

    @abstractmethod
    def of_classes(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        """(C,) each, float64: correct predictions of a class, its predictions, its samples."""

    def state_dict(self) -> dict[str, Any]:
        return {"table": self.counts.table, **super().state_dict()} if self.counts_itself else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.counts_itself:
            super().load_state_dict(state)
            confusion = state.get("counts")  # format 1 kept the confusion matrix
            whole = None if confusion is None else torch.stack([confusion.diag(), confusion.sum(0), confusion.sum(1)])
            self.counts.table = state.get("table", whole)


@METRICS.register("precision")
class Precision(PerClass):
    """The share of the predictions of a class that are right; 0 without predictions."""

    def of_classes(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return hits / predicted.clamp(min=1)


@METRICS.register("recall")
class Recall(PerClass):
    """The share of the samples of a class that are found; 0 without samples."""

    def of_classes(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return hits / actual.clamp(min=1)


@METRICS.register("f1")
class F1(PerClass):
    """The harmonic mean of precision and recall of each class, 2 hits / (actual + predicted)."""

    def of_classes(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return 2 * hits / (actual + predicted).clamp(min=1)


@METRICS.register("dice")
class Dice(F1):
    """The overlap of predicted and true positions, 2 hits / (actual + predicted): F1 under the name that segmentation
    uses. Counted over the whole epoch, not averaged over images."""


@METRICS.register("iou")
class IoU(PerClass):
    """Intersection over union (Jaccard index), hits / (actual + predicted - hits), counted over the whole epoch. Where
    `ignore_index` is a class, it has no value of its own and is left out of every average, as torchmetrics does."""

    def of_classes(self, hits: Tensor, predicted: Tensor, actual: Tensor) -> Tensor:
        return hits / (actual + predicted - hits).clamp(min=1)

    def of_interest(self, table: Tensor) -> Tensor:
        left_out = self.reader.ignore_index
        if self.reader.task != "multiclass" or self.average == "none" or not 0 <= left_out < table.shape[1]:
            return table
        return table[:, torch.arange(table.shape[1]) != left_out]


def aligned(metric: object, output: Tensor, target: Tensor) -> Tensor:
    """The output in the target's shape: (B, 1) beside (B,) would broadcast to (B, B)."""
    if output.shape == target.shape:
        return output
    if [size for size in output.shape if size != 1] == [size for size in target.shape if size != 1]:
        return output.reshape(target.shape)
    raise MetricError(metric, f"outputs of shape {tuple(output.shape)} beside targets of {tuple(target.shape)}")


@METRICS.register
def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (aligned(mean_squared_error, output, target) - target).square().reshape(len(target), -1).mean(1)


@METRICS.register
def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (aligned(mean_absolute_error, output, target) - target).abs().reshape(len(target), -1).mean(1)


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
        sums = torch.stack(
            [x.sum() for x in ((aligned(self, output, target).to(kind) - values).square(), shifted, shifted.square())]
        )
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += target.numel()

    def compute(self) -> float:
        if self.sums is None:
            return float("nan")
        errors, total, squares = self.sums.tolist()
        variance = squares - total * total / self.count
        return 1 - errors / variance if variance > 0 else float("nan")
