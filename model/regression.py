"""Metrics of predicted values: output and target (B, ...), of the same shape."""

from __future__ import annotations

import torch
from torch import Tensor

from base.base_metric import Metric
from base.registry import METRICS
from base.tally import widest


@METRICS.register
def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (output - target).square().flatten(1).mean(1)


@METRICS.register
def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """(B,) the mean over each sample's values."""
    return (output - target).abs().flatten(1).mean(1)


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
        """Of the errors' squares, the targets less the shift, and the squares of these: (3,) on the device."""

    def update(self, output: Tensor, target: Tensor) -> None:
        kind = widest(target)
        values = target.to(kind)
        if self.sums is None:
            self.shift = values.flatten()[0].clone()
        shifted = values - self.shift
        sums = torch.stack([x.sum() for x in ((output.to(kind) - values).square(), shifted, shifted.square())])
        self.sums = sums if self.sums is None else self.sums + sums
        self.count += target.numel()

    def compute(self) -> float:
        if self.sums is None:
            return float("nan")
        errors, total, squares = self.sums.tolist()
        variance = squares - total * total / self.count
        return 1 - errors / variance if variance > 0 else float("nan")
