"""What a callback draws does not disturb the run; one that cannot draw costs no look at the generators."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from base import Callback
from base.loop import callback
from base.loop.callback import Callbacks


class Plain(Callback):
    def on_step_end(self, trainer: Any, terms: Any) -> None:
        self.last = trainer


class Draws(Callback):
    def on_step_end(self, trainer: Any, terms: Any) -> None:
        self.drawn = random.random(), torch.rand(())


class DrawsByIndexing(Callback):
    def on_step_end(self, trainer: Any, terms: Any) -> None:
        terms["draw"]


class DrawingItems(dict[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return torch.rand(())


@pytest.mark.parametrize("kind", [Draws, DrawsByIndexing])
def test_what_a_callback_draws_is_not_noticed(kind: type[Callback]) -> None:
    torch.manual_seed(0)
    random.seed(0)
    expected = random.random(), torch.rand(())
    torch.manual_seed(0)
    random.seed(0)
    Callbacks([kind()], None).call("on_step_end", DrawingItems())
    assert (random.random(), torch.rand(())) == expected


def test_one_that_calls_nothing_costs_no_look_at_the_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callback, "rng_state", lambda: pytest.fail("looked"))
    plain = Plain()
    Callbacks([plain], "trainer").call("on_step_end", {})
    assert plain.last == "trainer"
