"""Against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from utils.classification import (
    Bin,
    calibration,
    class_counts,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
    probabilities,
)

WHOLE = [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)]


def test_confusion_and_scores_of_each_class() -> None:
    targets, predictions = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 0, 1])
    matrix = confusion_matrix(targets, predictions, 4)
    assert matrix.tolist() == [[2, 1, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
    scores = class_scores(class_counts(matrix))
    assert [(s.precision, s.recall, s.support) for s in scores] == [
        (pytest.approx(2 / 3), pytest.approx(2 / 3), 3),
        (pytest.approx(1 / 3), 0.5, 2),
        (0.0, 0.0, 1),
        (0.0, 0.0, 0),
    ]
    assert [s.f1 for s in scores] == [pytest.approx(2 / 3), pytest.approx(0.4), 0.0, 0.0]
    assert [s.iou for s in scores] == [0.5, 0.25, 0.0, 0.0]


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_targets_may_be_integers_of_any_width(dtype: torch.dtype) -> None:
    """100 classes: a cell's number is up to 9,999, which no 8 bits hold."""
    everyone = torch.arange(100)
    assert torch.equal(confusion_matrix(everyone.to(dtype), everyone, 100), torch.eye(100, dtype=torch.int64))


def test_calibration_error() -> None:
    """Two samples at 0.9 of which one is right, one at 0.6 that is right, one at exactly 0.7, which closes its bin, and
    wrong: 2/4 * |0.5 - 0.9| + 1/4 * |1 - 0.6| + 1/4 * |0 - 0.7| = 0.475."""
    chances = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.7, 0.3]], dtype=torch.float64)
    bins = calibration(chances, torch.tensor([0, 1, 1, 1]), bins=10)
    assert {i: (b.count, b.accuracy) for i, b in enumerate(bins) if b.count} == {5: (1, 1.0), 6: (1, 0.0), 8: (2, 0.5)}
    assert [bins[i].confidence for i in (5, 6, 8)] == [pytest.approx(0.6), pytest.approx(0.7), pytest.approx(0.9)]
    assert expected_calibration_error(bins) == pytest.approx(0.475)


def test_certainty_is_in_the_last_bin_and_nothing_has_no_error() -> None:
    assert calibration(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))[-1] == Bin(1, 1.0, 1.0)
    assert expected_calibration_error(calibration(torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))) == 0.0


def test_probabilities_of_logits_log_probabilities_and_probabilities() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0]])
    expected = logits.softmax(1)
    for outputs in (logits, logits.log_softmax(1), expected):
        assert torch.allclose(probabilities(outputs), expected)
