"""Losses: every public function and class in this file is a loss under its own name."""

from torch import Tensor
from torch.nn import functional


def smoothed_cross_entropy(output: Tensor, target: Tensor, smoothing: float = 0.05) -> Tensor:
    return functional.cross_entropy(output, target, label_smoothing=smoothing)
