"""What may be saved: everything finite, however large; masks that began infinite; nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from base.errors import NotFiniteError
from base.loop.nan_guard import NonFiniteGuard


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5))
        self.register_buffer("mask", torch.tensor([0.0, float("-inf")]))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("phase", torch.zeros(2, dtype=torch.complex64))


def check(guard: NonFiniteGuard, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    guard.check_state({"model": model}, [optimizer], {}, "epoch 1, step 1 (lr 0.1)")


def checked(spoil: Any = None, mode: str = "stop") -> None:
    model = Model()
    optimizer = torch.optim.SGD([model.weight], lr=0.1, momentum=0.9)
    model.weight.sum().backward()
    optimizer.step()
    guard = NonFiniteGuard(mode, 10, deferred=False)
    guard.exempt_buffers({"model": model})
    if spoil is not None:
        with torch.no_grad():
            spoil(model, optimizer)
    check(guard, model, optimizer)


def test_a_mask_that_began_infinite_is_no_fault() -> None:
    model = Model()
    optimizer = torch.optim.SGD([model.weight], lr=0.1)
    guard = NonFiniteGuard("stop", 10, deferred=False)
    with pytest.raises(NotFiniteError):
        check(guard, model, optimizer)
    guard.exempt_buffers({"model": model})
    check(guard, model, optimizer)


def test_large_finite_numbers_are_saved_though_their_sum_is_not_finite() -> None:
    checked(lambda model, optimizer: model.weight.fill_(3e38))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("place", ["weight", "buffer", "complex", "momentum"])
def test_one_number_that_is_not_finite_is_not_saved(place: str, value: float) -> None:
    def spoil(model: Any, optimizer: Any) -> None:
        momentum = optimizer.state[model.weight]["momentum_buffer"]
        complex_part = torch.view_as_real(model.phase)[0]
        places = {"weight": model.weight, "buffer": model.mean, "complex": complex_part, "momentum": momentum}
        places[place][1] = value

    with pytest.raises(
        NotFiniteError, match=r"weights or optimizer state are not finite after epoch 1, step 1 \(lr 0.1\): not saved"
    ):
        checked(spoil)
    checked(spoil, mode="ignore")


def test_infinities_of_both_signs_do_not_cancel() -> None:
    def spoil(model: Any, optimizer: Any) -> None:
        model.weight[0], model.weight[1] = float("inf"), float("-inf")

    with pytest.raises(NotFiniteError):
        checked(spoil)
