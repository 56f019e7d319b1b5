"""Overfitting a few batches, compiling, and a quick run through everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from base import CALLBACKS, Callback, fit
from base.evaluation.first_batches import FirstBatches
from tests.small_run import assert_same_run, last_state, rows, small_config, stopped_and_resumed


def test_two_batches_are_learned_by_heart(garments: Path, tmp_path: Path) -> None:
    changes = {
        "trainer__overfit_batches": 2,
        "trainer__epochs": 40,
        "data__loader__batch_size": 16,
        "data__transform__train": ["RandomHorizontalFlip", "ToFloat"],
        "data__valid": "off",
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
    }
    whole = fit(small_config(tmp_path / "whole", garments, **changes))
    assert rows(whole)[-2]["accuracy"] == 1.0 and rows(whole)[-2]["step"] == 80
    assert_same_run(whole, stopped_and_resumed(small_config(tmp_path / "parts", garments, **changes), 3, 60))


class Counted:
    name, size, batch_size, workers = "Counted (train)", 100, 8, None

    def __len__(self) -> int:
        return 13

    def batches(self, pass_: int = 0, start: int = 0) -> Any:
        return ((pass_, number) for number in range(start, 13))


def test_every_pass_is_the_beginning_of_the_first() -> None:
    few = FirstBatches(Counted(), 3)  # type: ignore[arg-type]
    assert (len(few), few.size) == (3, 24)
    assert list(few.batches(0)) == list(few.batches(5)) == [(0, 0), (0, 1), (0, 2)]
    assert list(few.batches(5, 2)) == [(0, 2)]
    assert (len(FirstBatches(Counted(), 99)), FirstBatches(Counted(), 99).size) == (13, 100)  # type: ignore[arg-type]


@CALLBACKS.register
class NamesOfWeights(Callback):
    def on_fit_start(self, trainer: Any) -> None:
        assert "layers.0.weight" in dict(trainer.model.named_parameters())


def test_what_is_compiled_is_what_runs_and_is_kept_by_the_same_names(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler is a stand-in that calls what it is given: the real one takes half a minute."""
    calls = []

    def compiler(function: Any, **options: Any) -> Any:
        return lambda *args, **kwargs: (calls.append(1), function(*args, **kwargs))[1]

    monkeypatch.setattr(torch, "compile", compiler)
    changes = {"trainer__ema": {"decay": 0.5}, "trainer__epochs": 1, "callbacks": ["NamesOfWeights"]}
    plain = fit(small_config(tmp_path / "plain", garments, **changes))
    assert calls == []
    compiled = fit(small_config(tmp_path / "compiled", garments, **changes), {"trainer.compile": True})
    assert len(calls) == 4 + 1  # the steps by the model, the validation by its average
    assert last_state(compiled)["weights"].keys() == last_state(plain)["weights"].keys()
