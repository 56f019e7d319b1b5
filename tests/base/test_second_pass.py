"""What needs data or a model to be found: faults at their places, before a run folder is made."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from base import TRAINERS, ConfigError, fit
from base.run import check
from tests.small_run import small_config
from trainer import Trainer

STEP = {"type": "StepLR", "every": "step", "args": {"step_size": 5}}
COSINE = {"type": "CosineAnnealingLR", "every": "step", "args": {"T_max": 12}}
CASES: list[tuple[dict[str, Any], str]] = [
    ({"device": "cuda:7"}, "device: device 'cuda:7' is not on this machine; there is: .*"),
    (
        {"data__loader__batch_size": 257},
        "data.loader.batch_size: larger than the training data; found 257; "
        "expected 256 at most, the number of its samples",
    ),
    (
        {"data__loader__batch_size": 257, "data__loader__drop_last": True},
        "data.loader.batch_size: no batch is left: "
        "the training data is smaller than one batch of 257, and drop_last is on",
    ),
    (
        {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": 10}}},
        "lr_scheduler.args.total_steps: shorter than the training: it fails at its end; found 10; "
        'expected 12 steps; write "${trainer.total_steps}"',
    ),
    (
        {"data__valid": 320},
        "data.valid: 320 of 320 samples are set aside, which leaves none to train on",
    ),
    (
        {"data__transform": {"train": [{"type": "Normalize", "args": {"mean": [0.5], "std": [0.0]}}], "eval": []}},
        "data.transform.train.0: Normalize refuses this: ValueError: Normalize: std must not be 0, found [0.0]",
    ),
    (
        {"optimizer": {"type": "SGD", "args": {"lr": 0.1, "nesterov": True}}},
        "optimizer.args.nesterov: SGD refuses this: ValueError: "
        "Nesterov momentum requires a momentum and zero dampening",
    ),
    (
        {"model": {"type": "MLP", "args": {"hidden": [-3]}}},
        "model.*: MLP refuses this: .*",
    ),
    (
        {"trainer__monitor": "min val_consistency", "trainer__type": "Consistent"},
        "trainer.monitor: nothing of the name 'val_consistency' is logged; "
        "expected one of loss, accuracy, val_loss, val_accuracy",
    ),
]


WARNINGS: list[tuple[dict[str, Any], str]] = [
    (
        {"trainer__accumulate": 2, "lr_scheduler": {**STEP, "args": {"step_size": 6}}},
        "lr_scheduler.args.step_size: the rate never changes; found 6; expected less than the 6 steps of the training",
    ),
    (
        {"trainer__accumulate": 2, "lr_scheduler": COSINE},
        "lr_scheduler.args.T_max: longer than the training; found 12; expected 6 steps at most; "
        'write "${trainer.total_steps}"',
    ),
    (
        {"trainer__accumulate": 100},
        "trainer.accumulate: longer than an epoch; found 100; expected 4 at most, the batches of an epoch",
    ),
    (
        {"data__valid": 0.004},
        "data.valid: one sample to validate with; found 0.004; expected a larger fraction, such as 0.1",
    ),
    ({"trainer__early_stop": 3}, "trainer.early_stop: never acts; found 3; expected less than 3, *"),
]
"""What trains, though a part of it never acts."""


@TRAINERS.register
class Consistent(Trainer):
    """A trainer of one's own may log what no text tells: its monitor is looked at by the dry run alone."""


@pytest.mark.parametrize(("changes", "message"), CASES)
def test_faults_have_places(changes: dict[str, Any], message: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    with pytest.raises(ConfigError) as error:
        fit(config)
    (fault,) = error.value.faults
    place, _, said = str(fault).partition(": ")
    assert re.fullmatch(message if ".*" in message else re.escape(message), said)
    line = int(re.fullmatch(rf"{re.escape(config.as_posix())}:(\d+):\d+", place)[1])  # type: ignore[index]
    key = fault.key.rpartition(".")[2]
    near = config.read_text().splitlines()[max(line - 3, 0) : line]
    assert any(key in text for text in near) or key.isdecimal()
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(("changes", "message"), WARNINGS)
def test_what_never_acts_is_a_warning(changes: dict[str, Any], message: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    (warning,) = check(config)
    place, _, said = str(warning).partition(": warning: ")
    assert re.fullmatch(rf"{re.escape(config.as_posix())}:\d+:\d+", place)
    assert said.startswith(message.rstrip("*")) if message.endswith("*") else said == message
    assert fit(config).reason == "finished"


def test_a_run_cut_short_from_the_command_line_is_no_contradiction(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, lr_scheduler=COSINE, trainer__early_stop=2)
    run = fit(config, ["trainer.epochs=1"])
    assert fit(resume=run.path).reason == "finished"


def test_a_folder_that_cannot_be_made(garments: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("")
    config = small_config(tmp_path, garments)
    with pytest.raises(ConfigError, match=r"config.yaml:\d+:\d+: trainer.save_dir: .*saved is a file, not a folder"):
        check(config)
