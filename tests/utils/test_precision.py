"""Number formats behind one way to step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from utils.device import MixedPrecision, select_precision

CPU = torch.device("cpu")


def step(precision: MixedPrecision, model: nn.Linear, factor: float = 1.0) -> torch.Tensor:
    """One step on fixed data; the loss."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with precision.autocast():
        loss = model(torch.ones(2, 3)).float().square().mean() * factor
    precision.backward(loss)
    precision.unscale(optimizer)
    precision.step(optimizer)
    precision.update()
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


def two_of(model: nn.Linear, fused: bool = False) -> list[torch.optim.Optimizer]:
    return [torch.optim.SGD([parameter], lr=0.1, fused=fused) for parameter in (model.weight, model.bias)]


def test_two_optimizers_of_one_loss_step_as_in_full_precision() -> None:
    """The scale changes after both have stepped, and each is unscaled once, however often it is asked for."""
    models = {mode: linear() for mode in ("fp32", "fp16")}
    for mode, model in models.items():
        precision, optimizers = select_precision(mode, CPU), two_of(model)
        for _ in range(3):
            precision.backward((model(torch.ones(2, 3)) ** 2).sum())
            for optimizer in (*optimizers, *optimizers):
                precision.unscale(optimizer)
            for optimizer in optimizers:
                precision.step(optimizer)
                optimizer.zero_grad()
            precision.update()
    for name, parameter in models["fp32"].named_parameters():
        assert torch.allclose(parameter, models["fp16"].get_parameter(name)), name


@pytest.mark.parametrize("fused", [False, True])
def test_an_overflow_in_the_first_optimizer_leaves_the_second_its_true_gradient(fused: bool) -> None:
    model, precision = linear(), select_precision("fp16", CPU)
    first, second = two_of(model, fused)
    precision.backward(model.weight.sum() * 1e36 + model.bias.sum())
    scale = precision.state_dict()["scale"]
    for optimizer in (first, second):
        precision.step(optimizer)
    assert precision.state_dict()["scale"] == scale
    precision.update()
    assert torch.equal(model.weight, linear().weight)
    assert torch.allclose(model.bias, linear().bias - 0.1)
    assert precision.state_dict()["scale"] == scale / 2


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_may_step_several_times_before_the_scale_changes(fused: bool) -> None:
    model, precision = linear(), select_precision("fp16", CPU)
    first, second = two_of(model, fused)
    scale = precision.state_dict()["scale"]
    precision.backward(model.bias.sum())  # waits, scaled, for its optimizer
    for factor in (1.0, 1e36, 1.0):
        precision.backward(model.weight.sum() * factor)
        precision.step(first)
        first.zero_grad()
    precision.step(second)
    precision.update()
    assert torch.allclose(model.weight, linear().weight - 0.2)
    assert torch.allclose(model.bias, linear().bias - 0.1)
    assert precision.state_dict()["scale"] == scale / 2  # one of the four steps overflowed


def test_a_step_without_any_gradients_changes_nothing() -> None:
    model, precision = linear(), select_precision("fp16", CPU)
    before = precision.state_dict()
    for optimizer in two_of(model):
        precision.unscale(optimizer)
        precision.step(optimizer)
    precision.update()
    assert precision.state_dict() == before
