"""Number formats behind one way to step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from utils.precision import Precision, select_precision

CPU = torch.device("cpu")


def step(precision: Precision, model: nn.Linear, factor: float = 1.0) -> torch.Tensor:
    """One step on fixed data; the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with precision.autocast():
        loss = model(torch.ones(2, 3)).float().square().mean() * factor
    precision.backward(loss)
    precision.unscale(optimizer)
    precision.step(optimizer)
    return loss.detach()


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_full_precision_is_a_plain_step() -> None:
    model, plain = linear(), linear()
    step(select_precision("fp32", CPU), model)
    plain(torch.ones(2, 3)).square().mean().backward()
    torch.optim.SGD(plain.parameters(), lr=0.1).step()
    assert torch.equal(model.weight, plain.weight)


@pytest.mark.parametrize("mode", ["bf16", "fp16"])
def test_half_precision_computes_in_halves_and_keeps_weights_whole(mode: str) -> None:
    model, whole = linear(), linear()
    precision = select_precision(mode, CPU)
    with precision.autocast():
        assert model(torch.ones(2, 3)).dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[mode]
    step(precision, model, factor=0.01)
    step(select_precision("fp32", CPU), whole, factor=0.01)
    assert model.weight.dtype == torch.float32
    assert torch.allclose(model.weight, whole.weight, atol=2e-4)
    assert not torch.equal(model.weight, linear().weight)


def test_an_overflow_in_fp16_skips_the_step_and_lowers_the_scale() -> None:
    model, precision = linear(), select_precision("fp16", CPU)
    before = precision.state_dict()["scale"]
    step(precision, model, factor=1e36)
    assert torch.equal(model.weight, linear().weight)
    assert precision.state_dict()["scale"] == before / 2
    resumed = select_precision("fp16", CPU)
    resumed.load_state_dict(precision.state_dict())
    assert resumed.state_dict() == precision.state_dict()
