"""Resuming with a changed config, the newest run, or whatever a restarted job finds."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest

from base import CALLBACKS, Callback, CheckpointError, ConfigError, fit
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


@pytest.mark.parametrize(
    "change", [{"model.args.hidden": [8]}, {"data.loader.batch_size": 32}, {"trainer.accumulate": 4}]
)
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


def test_another_accumulation_may_be_forced_between_epochs(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments), {"trainer.epochs": 1})
    resumed = fit(resume=run.path, overrides={"trainer.epochs": 2, "trainer.accumulate": 4}, force=True)
    assert [row["step"] for row in rows(resumed)[1:-1]] == [4, 5]


@pytest.mark.parametrize(("length", "steps"), [(1, [4, 6, 7]), (2, [4, 6, 8]), (3, [4, 7, 10])])
def test_an_epoch_whose_length_is_changed_ends_there_or_at_once(
    length: int, steps: list[int], garments: Path, tmp_path: Path
) -> None:
    run = fit(small_config(tmp_path, garments), STOP)  # after the second of the epoch's four steps
    change = {"callbacks": [{"type": "StopAt", "args": {"step": 20}}], "trainer.steps_per_epoch": length}
    resumed = fit(resume=run.path, overrides=change, force=True)
    assert resumed.reason == "finished" and [row["step"] for row in rows(resumed)[1:-1]] == steps


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


ONE_CYCLE = {"type": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": "${trainer.total_steps}"}}
COSINE = {"type": "CosineAnnealingLR", "args": {"T_max": "${trainer.epochs}"}}


def test_more_epochs_go_on_as_in_a_run_that_had_them_from_the_start(
    garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for schedule in (ONE_CYCLE, COSINE):
        config = small_config(tmp_path, garments, lr_scheduler=schedule, trainer__verbosity=2)
        run, whole = fit(config), fit(config, {"trainer.epochs": 6})
        last = rows(run)[3]["lr"]
        caplog.clear()
        caplog.set_level(logging.INFO)
        resumed = fit(resume=run.path, overrides={"trainer.epochs": 6}, force=True)
        assert [row["lr"] for row in rows(resumed)[4:7]] == [row["lr"] for row in rows(whole)[4:7]]
        words = f"to keep it low, add optimizer.args.lr={last:.6g} lr_scheduler=null"
        (told,) = [record.getMessage() for record in caplog.records if "jumps at step 13" in record.getMessage()]
        assert told.startswith(f"the learning rate jumps at step 13: lr {last:g} -> ") and told.endswith(words)


def test_the_words_that_keep_the_rate_low_do_so(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, lr_scheduler=ONE_CYCLE), {"trainer.epochs": 2})
    low = {"optimizer.args.lr": 8e-07, "lr_scheduler": None}
    resumed = fit(resume=run.path, overrides={"trainer.epochs": 4, **low}, force=True)
    assert [row["lr"] for row in rows(resumed)[3:5]] == [8e-07, 8e-07]


def test_a_forced_rate_lasts_under_a_schedule(garments: Path, tmp_path: Path) -> None:
    schedule = {"type": "CosineAnnealingWarmRestarts", "args": {"T_0": 4}, "every": "step"}
    config = small_config(tmp_path, garments, lr_scheduler=schedule)
    run, whole = fit(config, STOP), fit(config, {"optimizer.args.lr": 0.01})
    resumed = fit(resume=run.path, overrides={"callbacks": [], "optimizer.args.lr": 0.01}, force=True)
    assert [row["lr"] for row in rows(resumed)[2:-1]] == [row["lr"] for row in rows(whole)[2:-1]]


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_schedule_that_cannot_span_the_run_is_refused_and_the_run_is_as_it_was(
    garments: Path, tmp_path: Path
) -> None:
    literal = {"type": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": 12}}
    run = fit(small_config(tmp_path, garments, lr_scheduler=literal, trainer__keep=9))
    older = min((run.path / "checkpoints").glob("0*-step-00000004"))
    before = contents(run.path)
    for path in (run.path, older):
        with pytest.raises(ConfigError, match=r"config.yaml:\d+:\d+: lr_scheduler.args.total_steps: over before the"):
            fit(resume=path, overrides={"trainer.epochs": 5}, force=True, note="a note")
        assert contents(run.path) == before
    with pytest.raises(ConfigError, match=r"write lr_scheduler.args.total_steps='\$\{trainer.total_steps\}'"):
        fit(resume=run.path, overrides={"trainer.epochs": 5}, force=True)
    change = {"trainer.epochs": 5, "lr_scheduler.args.total_steps": "${trainer.total_steps}"}
    assert fit(resume=run.path, overrides=change, force=True).reason == "finished"


@CALLBACKS.register
class Breaks(Callback):
    def on_step_end(self, trainer: Any, terms: Any) -> None:
        if trainer.progress.step == 9:
            raise RuntimeError("before the first save with the new config")


@pytest.mark.parametrize("change", [{"trainer.epochs": 4}, {"optimizer.args.lr": 0.01, "optimizer.args.momentum": 0.5}])
def test_a_forced_change_holds_though_the_run_broke_before_its_next_save(
    change: dict[str, Any], garments: Path, tmp_path: Path
) -> None:
    schedule = ONE_CYCLE if "trainer.epochs" in change else None
    config = small_config(tmp_path, garments, lr_scheduler=schedule, trainer__epochs=2)
    more = {"trainer.epochs": 4, **change}
    run, other = fit(config), fit(config)
    with pytest.raises(RuntimeError, match="before the first save"):
        fit(resume=run.path, overrides={**more, "callbacks": ["Breaks"]}, force=True)
    resumed = fit(resume=run.path, overrides={"callbacks": []})
    assert_same_run(resumed, fit(resume=other.path, overrides=more, force=True))
