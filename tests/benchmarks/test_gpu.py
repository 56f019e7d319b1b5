"""The script for a GPU, on the CPU by the same way. No figure that a clock gave is looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks import gpu

TINY = ["--device", "cpu", "--seconds", "0", "--rounds", "1", "--steps", "2"]


def test_without_a_gpu_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 5
    out, err = capsys.readouterr()
    assert err == "no GPU is available: nothing was measured; use --device cpu to see that it runs\n" and not out


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_every_figure_is_measured_and_every_check_holds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch, "compile", lambda model, **options: model)  # which takes a minute
    monkeypatch.setattr(gpu, "BATCH", 8)
    status = gpu.main(TINY)
    out, err = capsys.readouterr()
    assert status == 0, err
    table, _, lines = out.partition("\n\n{")
    figures = {line.pop("figure"): line for line in map(json.loads, ("{" + lines).splitlines())}
    assert len(figures) == 12 and all(f"| {name} | " in table for name in figures)
    assert all(line.get("held") or (line["ms"] > 0 and line["ratio"] > 0) for line in figures.values())
    assert figures["bare loop"]["ratio"] == 1.0


def test_a_figure_that_fails_is_told_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def contestants(here: gpu.Here) -> dict[str, Callable[[], float]]:
        return {"bare loop": lambda: 2.0, "project": lambda: [][0], "other": lambda: 3.0}

    monkeypatch.setattr(gpu, "contestants", contestants)
    monkeypatch.setattr(gpu, "CHECKS", {"exact resume": lambda here: "the weights differ"})
    assert gpu.main(TINY) == 1
    out, err = capsys.readouterr()
    assert err == "project: IndexError: list index out of range\n"
    assert "| project | failed | failed |\n| other | 3.00 | 1.50 |\n| exact resume | the weights differ | |\n" in out
    assert '{"figure": "exact resume", "held": false}' in out


def test_ctrl_c_ends_it_and_not_one_run_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    from base import Callback

    class Signalled(Callback):
        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            trainer.request.signal = 2

    with pytest.raises(KeyboardInterrupt):
        gpu.train(gpu.Here("cpu", 0, tmp_path, 1), {}, Signalled())
