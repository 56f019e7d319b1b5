"""Numbers about predicted classes: the confusion matrix, scores of each class, calibration."""

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

    Indices of a confusion matrix do not fit into 8 bits, and torch can hardly calculate with wide unsigned integers.
    """
    return targets if targets.is_floating_point() else targets.long()


def confusion_matrix(targets: Tensor, predictions: Tensor, classes: int) -> Tensor:
    """int64 (C, C): how often samples of the row's class, (B,) integers, were predicted as the column's, (B,) int64."""
    cells = class_numbers(targets) * classes + predictions
    return torch.bincount(cells, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class ClassScores:
    """Of one class; a ratio of nothing to nothing is 0."""

    precision: float
    """The share of the predictions of this class that are right."""
    recall: float
    """The share of the samples of this class that are found."""
    f1: float
    """The harmonic mean of the two."""
    support: int
    """Samples of the class."""


def class_scores(confusion: Tensor) -> list[ClassScores]:
    """For each class of a confusion matrix (C, C)."""
    right = confusion.diagonal().double()
    actual, taken = confusion.sum(1), confusion.sum(0)
    columns = (right / taken.clamp(min=1), right / actual.clamp(min=1), 2 * right / (actual + taken).clamp(min=1))
    rows = zip(*(column.tolist() for column in columns), actual.tolist(), strict=True)
    return [ClassScores(*row) for row in rows]


@dataclass(frozen=True)
class Bin:
    """Samples whose largest probability lies in one interval."""

    count: int
    confidence: float
    """Its mean; 0 without samples."""
    accuracy: float


def calibration(probabilities: Tensor, targets: Tensor, bins: int = 15) -> list[Bin]:
    """`bins` intervals of equal width, (0, 1/15], (1/15, 2/15] ...; probabilities (B, C), targets int64 (B,)."""
    confidence, prediction = probabilities.double().max(1)
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    counts = torch.bincount(place, minlength=bins)
    sums = (torch.bincount(place, w.double(), bins) for w in (confidence, prediction == targets))
    means = ((total / counts.clamp(min=1)).tolist() for total in sums)
    return [Bin(*row) for row in zip(counts.tolist(), *means, strict=True)]


def expected_calibration_error(bins: list[Bin]) -> float:
    """ECE: the distance between confidence and accuracy, averaged over samples. Guo et al., On Calibration of Modern
    Neural Networks, ICML 2017, equation 3, with its 15 bins."""
    total = sum(b.count for b in bins)
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / max(total, 1)
