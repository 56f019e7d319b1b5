"""Metrics: every public function and class of this file is one, by its name."""

from torch import Tensor


def certainty(output: Tensor, target: Tensor) -> Tensor:
    """The probability of the true class, one number a sample; the run logs the mean over all samples."""
    return output.softmax(1).gather(1, target[:, None])[:, 0]
