"""R2, held against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor

from base import METRICS


def r2(output: Tensor, target: Tensor, sizes: list[int]) -> Any:
    """The metric, fed in batches of these sizes."""
    metric = METRICS.get("R2")()
    for pair in zip(output.split(sizes), target.split(sizes), strict=True):
        metric.update(*pair)
    return metric


def exact(output: Tensor, target: Tensor) -> float:
    given, wanted = ([Fraction(value) for value in tensor.flatten().tolist()] for tensor in (output, target))
    mean = sum(wanted) / len(wanted)
    errors = sum((a - b) ** 2 for a, b in zip(given, wanted, strict=True))
    return float(1 - errors / sum((value - mean) ** 2 for value in wanted))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("centre", [0.0, 1e6, 1e8, -1e12])
def test_far_from_zero_it_is_as_exact_as_near_it(centre: float, dtype: torch.dtype) -> None:
    """The spread is some thirty times what the type can tell apart there. Batches of one value and of many."""
    spread = max(1.0, 32 * abs(centre) * torch.finfo(dtype).eps)
    noise = torch.randn(2, 240, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = (centre + spread * noise[0]).to(dtype)
    output = (target.double() + 0.5 * spread * noise[1]).to(dtype)
    for sizes in ([240], [1, 100, 7, 132]):
        assert r2(output, target, sizes).compute() == pytest.approx(exact(output, target), rel=1e-6)


def test_a_first_value_far_from_the_others_costs_no_digits() -> None:
    target = torch.cat([torch.zeros(1), 1e6 + torch.arange(1000) % 7]).unsqueeze(1)
    output = target + 30 * (torch.arange(1001) % 3).unsqueeze(1)
    assert 1 - r2(output, target, [1, 500, 500]).compute() == pytest.approx(1 - exact(output, target), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8, 123456.789])
def test_targets_that_never_vary_have_none(value: float) -> None:
    target = torch.full((100, 1), value, dtype=torch.float64)
    assert math.isnan(r2(target + 1, target, [33, 67]).compute())


def test_errors_too_large_to_be_squared_in_half_precision() -> None:
    target = torch.tensor([[0.0], [1000.0], [2000.0]], dtype=torch.float16)
    assert r2(target + 500, target, [3]).compute() == 1 - 3 * 500**2 / 2e6


def test_what_an_earlier_version_has_saved_within_an_epoch_goes_on() -> None:
    """Its sums were those of the targets as they are."""
    target = torch.tensor([[1.0], [2.0], [4.0], [8.0]])
    output = target + torch.tensor([[0.5], [-0.5], [0.25], [1.0]])
    errors, first = (output - target)[:2].square().sum(), target[:2].double()
    metric = METRICS.get("R2")()
    metric.load_state_dict({"count": 2, "sums": torch.stack([errors.double(), first.sum(), first.square().sum()])})
    metric.update(output[2:], target[2:])
    assert metric.compute() == pytest.approx(exact(output, target))
