"""Resuming with a changed config, the newest run, or whatever a restarted job finds."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from base import CheckpointError, ConfigError, fit
from tests.small_run import assert_same_run, rows, small_config

STOP = {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]}


def test_harmless_changes_are_taken_and_shown(garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = fit(small_config(tmp_path, garments, trainer__verbosity=2), STOP)
    caplog.set_level(logging.INFO)
    resumed = fit(resume=run.path, overrides={"callbacks": [], "trainer.epochs": 4, "trainer.keep": 2})
    assert resumed.reason == "finished" and rows(resumed)[-2]["epoch"] == 4
    assert "changed: trainer.epochs: 3 -> 4 (harmless)" in caplog.text


def test_another_learning_rate_needs_force_and_then_holds_from_the_next_step(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments), STOP)
    change = {"callbacks": [], "optimizer.args.lr": 0.01}
    with pytest.raises(ConfigError, match=r"optimizer.args.lr: differs from the run's 0.1; found 0.01; .*--force"):
        fit(resume=run.path, overrides=change)
    assert rows(run)[-1] == {"end": "signal"} or rows(run)[-1] == {"end": "test"}  # nothing was touched
    resumed = fit(resume=run.path, overrides=change, force=True)
    assert [row["lr"] for row in rows(resumed)[1:-1]] == [0.1, 0.01, 0.01]
    assert fit(resume=run.path).config.settings.optimizer.args["lr"] == 0.01


@pytest.mark.parametrize("change", [{"model.args.hidden": [8]}, {"data.loader.batch_size": 32}])
def test_what_a_run_cannot_take_in_the_middle_of_an_epoch_is_refused(
    change: dict[str, object], garments: Path, tmp_path: Path
) -> None:
    run = fit(small_config(tmp_path, garments), STOP)
    with pytest.raises(CheckpointError, match=next(iter(change))):
        fit(resume=run.path, overrides={"callbacks": [], **change}, force=True)


def test_another_batch_size_may_be_forced_between_epochs(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments), {"trainer.epochs": 1})
    resumed = fit(resume=run.path, overrides={"trainer.epochs": 2, "data.loader.batch_size": 32}, force=True)
    assert [row["step"] for row in rows(resumed)[1:-1]] == [4, 12]


def test_a_finished_run_says_so_and_is_left_alone(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = fit(small_config(tmp_path, garments, trainer__verbosity=2))
    before = (run.path / "metrics.jsonl").read_bytes()
    caplog.set_level(logging.INFO)
    again = fit(resume=run.path)
    assert again.reason == "finished" and again.best == run.best
    assert "is over already: finished" in caplog.text
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_the_newest_run_of_the_name_goes_on(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    with pytest.raises(CheckpointError, match="no run of this name"):
        fit(config, newest=True)
    whole, _, stopped = fit(config), fit(config, {"trainer.epochs": 1}), fit(config, STOP)
    resumed = fit(config, newest=True)
    assert resumed.path == stopped.path
    assert_same_run(whole, resumed)


def test_one_command_line_serves_start_and_restart(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    first = fit(config, STOP, auto=True)
    second = fit(config, STOP, auto=True)
    assert second.path == first.path and second.reason == "finished"  # it had stopped at step 6, which is past
    assert fit(config, STOP, auto=True).path == first.path
    assert fit(config, {**STOP, "seed": 1}, auto=True).path != first.path


def test_going_on_from_an_older_save_puts_the_newer_ones_aside(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    run, again = fit(config), fit(config)
    saves = sorted(path.name for path in (again.path / "checkpoints").glob("0*"))
    resumed = fit(resume=again.path / "checkpoints" / saves[0])
    assert_same_run(run, resumed)
    (aside,) = (again.path / "checkpoints").glob("abandoned-*")
    assert {path.name for path in aside.iterdir()} >= set(saves[1:])
    assert '"epoch": 3' in (aside / "metrics.jsonl").read_text()


def test_other_data_under_the_same_config_is_refused(garments: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(garments, root)
    stopped = fit(small_config(tmp_path, root), STOP)
    between = fit(small_config(tmp_path, root), {"trainer.epochs": 1})
    images = root / "FashionMNIST" / "raw" / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:16] + bytes(320 * 784))
    with pytest.raises(CheckpointError, match="not the data that the run began with: train, valid; in the middle"):
        fit(resume=stopped.path, overrides={"callbacks": []}, force=True)
    with pytest.raises(CheckpointError, match="not the data that the run began with: train, valid; --force"):
        fit(resume=between.path)
