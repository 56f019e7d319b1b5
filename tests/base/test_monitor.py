"""What is watched: its direction, what a schedule makes of it, and values that are not finite."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import pytest

from base import METRICS, ConfigError, fit
from base.loop.train_state import Monitor
from tests.small_run import rows, small_config

PLATEAU = {"type": "ReduceLROnPlateau", "args": {"patience": 0, "factor": 0.5}}


@METRICS.register
def grows(output: Any, target: Any) -> float:
    """Better with each evaluation."""
    grows.calls += 1  # type: ignore[attr-defined]
    return float(grows.calls)  # type: ignore[attr-defined]


grows.calls = 0  # type: ignore[attr-defined]


@METRICS.register
def never_a_number(output: Any, target: Any) -> float:
    return math.nan


def test_a_plateau_takes_the_direction_of_the_monitor(garments: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"lr_scheduler": PLATEAU, "metrics": ["grows"]}
    rising = fit(small_config(tmp_path, garments, trainer__monitor="max val_grows", **changes))
    assert [row["lr"] for row in rows(rising)[1:-1]] == [0.1, 0.1, 0.1]
    falling = fit(small_config(tmp_path, garments, trainer__monitor="min val_grows", **changes))
    assert [row["lr"] for row in rows(falling)[1:-1]] == [0.1, 0.1, 0.05]


def test_a_plateau_against_the_monitor_is_refused(garments: Path, tmp_path: Path) -> None:
    against = {"type": "ReduceLROnPlateau", "args": {"mode": "min"}}
    config = small_config(tmp_path, garments, lr_scheduler=against, trainer__monitor="max val_accuracy")
    told = (
        r"yaml:\d+:\d+: lr_scheduler.args.mode: contradicts trainer.monitor: max val_accuracy; found 'min'; write max"
    )
    with pytest.raises(ConfigError, match=told):
        fit(config)
    assert fit(config, {"trainer.monitor": "min val_loss", "trainer.epochs": 1}).reason == "finished"


def test_a_plateau_by_epoch_is_refused(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, lr_scheduler={**PLATEAU, "every": "epoch"})
    with pytest.raises(ConfigError, match=r"lr_scheduler.every: ReduceLROnPlateau steps on the monitored value; write"):
        fit(config)


def test_a_monitored_value_that_is_not_finite_is_told_once_and_named_at_the_end(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes: dict[str, Any] = {"metrics": ["never_a_number"], "trainer__monitor": "max val_never_a_number"}
    run = fit(small_config(tmp_path, garments, trainer__early_stop=2, trainer__epochs=5, **changes))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told[0].startswith("val_never_a_number is nan in epoch 1, at step 4: ")
    assert sum("val_never_a_number" in line for line in told) == 1
    assert run.reason == "early_stop"
    ending = "stopped early, val_never_a_number was not finite in 2 of the last 2 evaluations"
    assert run.trainer.monitor.ending == ending


def test_infinite_is_never_the_best() -> None:
    monitor = Monitor("score", "max", patience=3)
    values = [1.0, math.inf, 0.5, 2.0]
    assert [monitor.update({"score": value}) for value in values] == [True, False, False, True]
    assert (monitor.best, monitor.not_finite, monitor.ending) == (2.0, 0, "stopped early")


def test_the_first_value_that_is_not_finite_is_told_of_once_over_a_resume(caplog: pytest.LogCaptureFixture) -> None:
    monitor, resumed = Monitor("score"), Monitor("score")
    monitor.update({"score": math.nan})
    resumed.load_state_dict(monitor.state_dict())
    resumed.update({"score": math.nan})
    assert len(caplog.records) == 1 and resumed.not_finite == 2
