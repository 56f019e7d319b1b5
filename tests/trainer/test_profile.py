"""`--profile`: a trace that opens, of the run's own operations, and a run that is none the worse for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from base import fit
from tests.small_run import assert_same_run, small_config, write_garments
from trainer.diagnostics import Profile


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_garments(tmp_path / "data")
    return small_config(tmp_path, tmp_path / "data")


def test_a_trace_and_a_table_of_some_steps(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plain = fit(config)
    run = fit(config, callbacks=[Profile(skip=2, steps=3)])
    assert_same_run(plain, run)
    assert capfd.readouterr().err == ""
    trace, table = (next((run.path / "profile").glob(pattern)) for pattern in ("*.json", "*.txt"))
    assert trace.name == "to-step-00000008.pt.trace.json"
    names = {event.get("name") for event in json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]}
    assert "aten::addmm" in names
    assert {f"ProfilerStep#{number}" for number in (2, 3, 4)} <= names
    assert "aten::addmm" in table.read_text(encoding="utf-8")


def test_a_run_too_short_to_profile_says_so(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fit(config, {"trainer.epochs": 1}, callbacks=[Profile(skip=10)])
    assert not (run.path / "profile").exists()
    assert "nothing was profiled: the run took 4 steps, 10 are skipped" in capsys.readouterr().err
