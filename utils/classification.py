"""The confusion matrix, scores per class, and calibration of a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
