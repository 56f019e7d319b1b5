"""A run whose files were changed or damaged between two starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from base import fit
from base.errors import CheckpointError, ConfigError
from base.run import Run
from tests.small_run import rows, small_config


@pytest.fixture
def stopped(garments: Path, tmp_path: Path) -> Run:
    return fit(small_config(tmp_path, garments, callbacks=[{"type": "StopAt", "args": {"step": 6}}]))


def edit(run: Run, before: str, after: str) -> None:
    path = run.path / "config.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_an_edited_config_is_judged_as_the_command_line_is(stopped: Run) -> None:
    edit(stopped, "lr: 0.1", "lr: 0.2")
    with pytest.raises(
        ConfigError, match=r"optimizer.args.lr: differs from the run's 0.1.*--force does it all the same"
    ):
        fit(resume=stopped.path, overrides={"callbacks": []})
    edit(stopped, "batch_size: 64", "batch_size: 32")
    with pytest.raises(
        CheckpointError, match=r"data\.loader\.batch_size cannot change in the middle of an epoch: 64 -> 32"
    ):
        fit(resume=stopped.path, overrides={"callbacks": []}, force=True)
    edit(stopped, "batch_size: 32", "batch_size: 64")
    run = fit(resume=stopped.path, overrides={"callbacks": [{"type": "StopAt", "args": {"step": 7}}]}, force=True)
    assert run.trainer.optimizer.param_groups[0]["lr"] == 0.2
    assert fit(resume=stopped.path, overrides={"callbacks": []}).reason == "finished"  # forced once is enough


def test_damaged_rows_are_cut_off_and_said(
    stopped: Run, garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = stopped.path / "metrics.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + b"\0" * len(whole[1]))
    run = fit(resume=stopped.path, overrides={"callbacks": []})
    assert f"{path}: 1 damaged line cut off" in caplog.text
    assert [row.get("epoch") for row in rows(run)] == [None, 2, 3, None]
    assert b"\0" not in path.read_bytes()


def test_half_a_row_does_not_run_into_the_next_one(stopped: Run, caplog: pytest.LogCaptureFixture) -> None:
    path = stopped.path / "metrics.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + whole[1][:20])
    run = fit(resume=stopped.path, overrides={"callbacks": []})
    assert "1 damaged line cut off" in caplog.text
    assert [row.get("epoch") for row in rows(run)] == [None, 2, 3, None]
