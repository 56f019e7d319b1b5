"""The callbacks that docs/trackers.md shows, run against stand-ins for the trackers."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from base import fit
from tests.small_run import small_config, write_garments

DOCS = Path(__file__).resolve().parent.parent / "docs" / "trackers.md"


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What the trackers are told. The documented callbacks are loaded as a user's file is."""
    told: list[tuple[str, Any]] = []

    def note(name: str, result: Any = None) -> Any:
        return lambda *args, **options: told.append((name, options or args)) or result

    wandb, mlflow = ModuleType("wandb"), ModuleType("mlflow")
    run = SimpleNamespace(log=lambda values, step: told.append(("log", {**values, "at": step})), finish=note("finish"))
    vars(wandb).update(init=note("init", run))
    vars(mlflow).update(
        start_run=note("start_run", SimpleNamespace(info=SimpleNamespace(run_id="r1"))),
        log_metrics=lambda values, step: told.append(("log_metrics", {**values, "at": step})),
        log_dict=note("log_dict"),
        end_run=note("end_run"),
    )
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    for number, text in enumerate(re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)):
        file = tmp_path / f"tracker_{number}.py"
        file.write_text(text)
        spec = importlib.util.spec_from_file_location(file.stem, file)
        assert spec and spec.loader
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
    return told


def test_the_documented_callbacks_tell_the_trackers_of_each_epoch(calls: list[tuple[str, Any]], tmp_path: Path) -> None:
    write_garments(tmp_path / "garments")
    config = small_config(tmp_path, tmp_path / "garments", callbacks=[{"type": "WandbLog"}, {"type": "MlflowLog"}])
    run = fit(config, {"trainer.epochs": 1})
    fit(resume=run.path, overrides={"trainer.epochs": 2})
    names = [name for name, _ in calls]
    process = ["init", "start_run", "log_dict", "log", "log_metrics", "finish", "end_run"]
    assert names == [*process, *(name for name in process if name != "log_dict")]
    told = {name: [value for called, value in calls if called == name] for name in names}
    identity = f"small-{run.path.name}"
    assert [(start["id"], start["resume"]) for start in told["init"]] == [(identity, "allow")] * 2
    assert told["init"][0]["config"]["optimizer"]["args"]["lr"] == 0.1
    assert [start["run_id"] for start in told["start_run"]] == [None, "r1"]
    assert [(row["epoch"], row["at"]) for row in told["log"]] == [(1, 4), (2, 8)]
    assert all("val_accuracy" in row and "phase" not in row for row in told["log"] + told["log_metrics"])
    assert told["finish"] == [{"exit_code": 0}] * 2 and told["end_run"] == [("FINISHED",)] * 2
