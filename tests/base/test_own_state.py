"""What changes in objects that know nothing of checkpoints comes back in a new one of the same kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from base.checkpoint.attribute_state import AttributeState
from tests.small_run import assert_same


class Inner:
    def __init__(self) -> None:
        self.mean = torch.zeros(2)


class Remembering:
    __module__ = "model.loss"

    def __init__(self) -> None:
        self.decay, self.calls, self.best = 0.9, 0, None
        self.history: list[float] = []
        self.scales: dict[str, torch.Tensor] = {}
        self.array = np.zeros(3)
        self.inner, self.parts = Inner(), {"one": Inner(), "path": Path("x")}
        self.layer = nn.BatchNorm1d(2)
        self.optimizer = torch.optim.SGD(self.layer.parameters(), lr=0.1, momentum=0.9)
        self.callback = print


Inner.__module__ = "model.loss"


def changed() -> tuple[Remembering, dict[str, Any]]:
    one = Remembering()
    state = AttributeState(one)
    assert state.state_dict() == {}
    one.calls, one.best, one.history = 3, 0.25, [1.0, 2.0]
    one.scales["fit"] = torch.tensor(2.5)
    one.array[1] = 4
    one.inner.mean += 1
    one.parts["one"].mean += 2  # type: ignore[union-attr]
    one.layer(torch.randn(4, 2)).square().sum().backward()
    one.optimizer.step()
    return one, state.state_dict()


def test_it_comes_back(tmp_path: Path) -> None:
    one, state = changed()
    assert "decay" not in state and "callback" not in state
    torch.save(state, tmp_path / "state.pt")
    other = Remembering()
    parts = other.parts["one"]
    AttributeState(other).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for name in ("calls", "best", "history", "scales"):
        assert_same(getattr(one, name), getattr(other, name))
    assert np.array_equal(one.array, other.array)
    assert torch.equal(other.inner.mean, torch.ones(2)) and other.parts["one"] is parts
    assert torch.equal(parts.mean, torch.full((2,), 2.0))  # type: ignore[union-attr]
    assert_same(one.layer.state_dict(), other.layer.state_dict())
    assert_same(one.optimizer.state_dict(), other.optimizer.state_dict())


def test_a_state_is_a_copy() -> None:
    one, state = changed()
    one.scales["fit"] += 1
    assert state["scales"]["fit"] == 2.5


def test_what_is_saved_elsewhere_is_left_out() -> None:
    one = Remembering()
    state = AttributeState(one, [one.layer, one.optimizer])
    one.layer(torch.randn(4, 2)).sum().backward()
    one.optimizer.step()
    assert state.state_dict() == {}
