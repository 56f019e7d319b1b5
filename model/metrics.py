"""Metrics as functions: one score per sample, averaged exactly over the epoch."""

from __future__ import annotations

from torch import Tensor

from base.registry import METRICS
from utils.classification import class_numbers


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
