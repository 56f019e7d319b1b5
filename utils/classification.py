"""Classification: how outputs and targets are read, the confusion matrix, scores of each class, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

Task = Literal["binary", "multiclass", "multilabel"]


ENOUGH = 16
"""Outputs in 0 to 1 from which on they may be probabilities: few logits lie there by chance."""
PROBABILITIES = (
    "warning: %s cuts its outputs at 0, as logits, and all of them lie in 0 to 1: if they are probabilities, "
    "say args: {threshold: 0.5}"
)


class UnclearTask(ValueError):
    """Outputs and targets fit no task, or more than one; the message says which argument decides."""


@dataclass(frozen=True)
class Read:
    """A batch as predicted and true classes; all fields have the same shape."""

    predicted: Tensor
    """int64 class numbers, or a bool for each label."""
    true: Tensor
    """The true classes, in the form of `predicted`."""
    kept: Tensor
    """bool: False where the target is `ignore_index`."""
    strange: Tensor
    """int64 (): the number of kept targets that are invalid: not a class, not 0 or 1, or rows that do not sum to 1."""


class TaskReader:
    """Decides at its first batch how to read outputs and targets, and reads all later batches in the same way.

    | task       | outputs                          | targets                                                |
    |------------|----------------------------------|--------------------------------------------------------|
    | binary     | (B,) or (B, 1, ...)              | of the same shape, or without the 1; 0 or 1            |
    | multiclass | (B, C, d1...) or (B, d1..., C)   | class numbers (B, d1...); one-hot or soft, as outputs  |
    | multilabel | (B, L, d1...)                    | of the same shape, 0 or 1 for each of L labels         |

    Args:
        task: if None, the shapes decide. Targets of the outputs' shape whose rows do not sum to 1 are refused.
        class_dim: the dimension of the outputs with the classes; if None, 1, or the last one if only that fits.
        ignore_index: targets with this value do not count; torch's -100 if None.
        threshold: binary and multilabel outputs above it are positive: 0 for logits, 0.5 for probabilities.
    """

    def __init__(
        self,
        task: Task | None = None,
        class_dim: int | None = None,
        ignore_index: int | None = None,
        threshold: float = 0.0,
    ) -> None:
        self.given_task, self.task, self.class_dim = task, task, class_dim
        self.ignore_index = -100 if ignore_index is None else ignore_index
        self.threshold = threshold
        self.decided = False

    @property
    def settings(self) -> tuple[Any, ...]:
        """Readers with equal settings read batches in the same way."""
        return self.given_task, self.class_dim, self.ignore_index, self.threshold

    def read(self, output: Tensor, target: Tensor) -> Read:
        """Reads one batch. UnclearTask if the shapes fit no task, or not the task that was decided."""
        if not self.decided:
            self._decide(output, target)
            self.decided = True
        return self._classes(output, target) if self.task == "multiclass" else self._labels(output, target)

    def probabilities(self, output: Tensor) -> Tensor:
        """float32, once a batch was read. Multiclass: (B, C, ...), whichever dimension the classes were in. Else of the
        positive class, in the outputs' shape; outputs are logits unless the threshold lies between 0 and 1."""
        if self.task == "multiclass" and self.class_dim is not None:
            return probabilities(output.float().movedim(self.class_dim, 1))
        return output.float() if 0 < self.threshold < 1 else output.float().sigmoid()

    def state_dict(self) -> dict[str, Any]:
        return {"task": self.task, "class_dim": self.class_dim} if self.decided else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state:
            self.task, self.class_dim, self.decided = state["task"], state["class_dim"], True

    def _decide(self, output: Tensor, target: Tensor) -> None:
        if not isinstance(output, Tensor) or not isinstance(target, Tensor):
            found = f"{type(output).__name__} and {type(target).__name__}"
            hint = "choose tensors by `output` and `target` beside `type`"
            raise UnclearTask(f"it takes one tensor of outputs and one of targets, found {found}; {hint}")
        if not output.dim() or not target.dim():
            raise UnclearTask(f"{_shapes(output, target)}: expected a row for each sample")
        if self.task is None:
            self.task = self._infer(output, target)
        if self.task != "multiclass":
            return
        if self.class_dim is None:
            self.class_dim = self._find_class_dim(output, target)
        if output.dim() < 2 or output.shape[self.class_dim] == 1:
            raise UnclearTask(f"{_shapes(output, target)}: one class only; with one output a sample the task is binary")

    def _infer(self, output: Tensor, target: Tensor) -> Task:
        whole = not target.is_floating_point()
        if output.dim() == 1 or (output.shape[1] == 1 and _without_ones(output) == _without_ones(target)):
            if _labels_only(target, self.ignore_index):
                return "binary"
            kind = "targets are no classes 0 and 1"
            hint = "for values use mean_absolute_error or R2, for shares of a class say args: {task: binary}"
            raise UnclearTask(f"{_shapes(output, target)}: {kind}; {hint}")
        if whole and target.dim() == output.dim() - 1:
            return "multiclass"
        if target.shape == output.shape:
            rows = target.float().sum(self.class_dim or 1)
            if bool(((rows - 1).abs() < 1e-3).all()) and bool((target >= 0).all()):
                return "multiclass"
            what = "the targets have the outputs' shape, and their rows do not sum to 1, so they are no classes"
            raise UnclearTask(f"{_shapes(output, target)}: {what}; for several labels say args: {{task: multilabel}}")
        takes = (
            "binary takes (B,) or (B, 1), multiclass (B, C, ...) with class numbers (B, ...), multilabel two of (B, L)"
        )
        raise UnclearTask(f"{_shapes(output, target)}: these fit no task; {takes}")

    @staticmethod
    def _find_class_dim(output: Tensor, target: Tensor) -> int:
        if target.shape == output.shape or output.shape[:1] + output.shape[2:] == target.shape:
            return 1
        if output.shape[:-1] == target.shape:
            return -1
        raise UnclearTask(f"{_shapes(output, target)}: no dimension of the outputs is left over for the classes")

    def _classes(self, output: Tensor, target: Tensor) -> Read:
        assert self.class_dim is not None
        classes = output.shape[self.class_dim]
        predicted = output.argmax(self.class_dim)
        if target.shape == output.shape:
            rows, target = target.float().sum(self.class_dim), target.argmax(self.class_dim)
            return Read(predicted, target, torch.ones_like(target, dtype=torch.bool), ((rows - 1).abs() > 1e-3).sum())
        if target.shape != predicted.shape or target.is_floating_point():
            raise UnclearTask(
                f"the first batch had its classes in dimension {self.class_dim}, and now {_shapes(output, target)}; "
                "say args: {class_dim: ...}"
            )
        target = class_numbers(target)
        kept = target != self.ignore_index
        strange = (((target < 0) | (target >= classes)) & kept).sum()
        return Read(predicted, target, kept, strange)

    def _labels(self, output: Tensor, target: Tensor) -> Read:
        if output.shape != target.shape:
            same = output.shape[1:2] == (1,) and output.squeeze(1).shape == target.shape
            same = same or (target.shape[1:2] == (1,) and target.squeeze(1).shape == output.shape)
            if self.task != "binary" or not same:
                raise UnclearTask(f"{_shapes(output, target)}: {self.task} takes outputs and targets of one shape")
            output = output.reshape(target.shape)
        kept = target != self.ignore_index
        strange = (((target < 0) | (target > 1)) & kept).sum()
        return Read(output > self.threshold, target > 0.5, kept, strange)


def _without_ones(tensor: Tensor) -> tuple[int, ...]:
    """The shape without a second dimension of 1."""
    shape = tuple(tensor.shape)
    return shape[:1] + shape[2:] if shape[1:2] == (1,) else shape


def _labels_only(target: Tensor, ignore_index: int) -> bool:
    return bool(((target == 0) | (target == 1) | (target == ignore_index)).all())


def _shapes(output: Tensor, target: Tensor) -> str:
    dtype = str(target.dtype).removeprefix("torch.")
    return f"outputs of shape {tuple(output.shape)} and {dtype} targets of {tuple(target.shape)}"


def probabilities(outputs: Tensor) -> Tensor:
    """(B, C, ...) logits, log-probabilities or probabilities -> (B, C, ...) probabilities."""
    sums = outputs.sum(1)
    already = bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    return outputs if already else outputs.softmax(1)


def class_numbers(targets: Tensor) -> Tensor:
    """Integers of any width as int64; floats unchanged.

    Indices of a confusion matrix may exceed 8 bits, and torch supports few operations on wide unsigned integers.
    """
    return targets if targets.is_floating_point() else targets.long()


def confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """The counts, int64 (C, C), of each true class (row) and predicted class (column).

    `targets` are integers (B,), `predictions` int64 (B,).
    """
    cells = class_numbers(targets) * classes + predictions
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """The scores of one class; 0/0 counts as 0."""

    precision: float
    """The share of the predictions of this class that are correct."""
    recall: float
    """The share of the samples of this class that are predicted as such."""
    f1: float
    """The harmonic mean of precision and recall."""
    iou: float
    """Intersection over union."""
    support: int
    """The number of samples, or positions, of this class."""


def class_counts(confusion: Tensor) -> Tensor:
    """(3, C) of a confusion matrix (C, C): hits, predicted, true of each class."""
    return torch.stack([confusion.diagonal(), confusion.sum(0), confusion.sum(1)])


def class_scores(counts: Tensor) -> list[ClassScores]:
    """The scores of each class or label of counts (3, C): hits, predicted, true."""
    hits, taken, actual = counts.double()
    columns = (
        hits / taken.clamp(min=1),
        hits / actual.clamp(min=1),
        2 * hits / (actual + taken).clamp(min=1),
        hits / (actual + taken - hits).clamp(min=1),
    )
    rows = zip(*(column.tolist() for column in columns), counts[2].tolist(), strict=True)
    return [ClassScores(*row) for row in rows]


@dataclass(frozen=True)
class Bin:
    """The samples whose largest probability lies in one interval."""

    count: int
    confidence: float
    """The mean of the largest probability; 0 without samples."""
    accuracy: float


def calibration_sums(confidence: Tensor, right: Tensor, bins: int = 15) -> Tensor:
    """float64 (3, bins): predictions, their summed confidence, and how many are right, in `bins` intervals of equal
    width, (0, 1/15], (1/15, 2/15] ... Sums of parts may be added."""
    confidence = confidence.double()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    weights = (torch.ones_like(confidence), confidence, right.double())
    return torch.stack([torch.bincount(place, weight, bins).double() for weight in weights])  # of nothing it is int64


def calibration_bins(sums: Tensor) -> list[Bin]:
    """Of what `calibration_sums` gives."""
    counts = sums[0]
    means = (row / counts.clamp(min=1) for row in sums[1:])
    return [Bin(int(count), *rest) for count, *rest in zip(*(row.tolist() for row in (counts, *means)), strict=True)]


def calibration(probabilities: Tensor, targets: Tensor, bins: int = 15) -> list[Bin]:
    """Of probabilities (B, C) and targets int64 (B,)."""
    confidence, prediction = probabilities.double().max(1)
    return calibration_bins(calibration_sums(confidence, prediction == targets, bins))


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE: the difference between confidence and accuracy, averaged over samples. See Guo et al., On Calibration of
    Modern Neural Networks, ICML 2017, equation 3, which uses 15 bins."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / max(total, 1)
