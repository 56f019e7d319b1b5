"""The confusion matrix, scores per class, and calibration of a classifier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def probabilities(outputs: Tensor) -> Tensor:
    """(B, C) logits, log-probabilities or probabilities -> (B, C) probabilities."""
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
    support: int
    """The number of samples of this class."""


def class_scores(confusion: Tensor) -> list[ClassScores]:
    """The scores of each class of a confusion matrix (C, C)."""
    right = confusion.diagonal().double()
    actual, taken = confusion.sum(1), confusion.sum(0)
    columns = (right / taken.clamp(min=1), right / actual.clamp(min=1), 2 * right / (actual + taken).clamp(min=1))
    rows = zip(*(column.tolist() for column in columns), actual.tolist(), strict=True)
    return [ClassScores(*row) for row in rows]


@dataclass(frozen=True)
class Bin:
    """The samples whose largest probability lies in one interval."""

    count: int
    confidence: float
    """The mean of the largest probability; 0 without samples."""
    accuracy: float


def calibration(probabilities: Tensor, targets: Tensor, bins: int = 15) -> list[Bin]:
    """Sorts samples into `bins` intervals of equal width, (0, 1/15], (1/15, 2/15] ..., by their largest probability.

    `probabilities` are (B, C), `targets` int64 (B,).
    """
    confidence, prediction = probabilities.double().max(1)
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sums = (torch.bincount(place, w.double(), bins) for w in (confidence, prediction == targets))
    means = ((total / counts.clamp(min=1)).tolist() for total in sums)
    return [Bin(*row) for row in zip(counts.tolist(), *means, strict=True)]


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE: the difference between confidence and accuracy, averaged over samples. See Guo et al., On Calibration of
    Modern Neural Networks, ICML 2017, equation 3, which uses 15 bins."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / max(total, 1)
