"""Stopped anywhere and resumed, a run ends with the numbers of the run that was never stopped, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base import fit
from tests.small_run import assert_same_run, rows, small_config, stopped_and_resumed

AUGMENTED = [
    {"type": "ToFloat"},
    {"type": "RandomHorizontalFlip"},
    {"type": "RandomCrop", "args": {"size": 28, "padding": 2}},
    {"type": "RandomErasing"},
]
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented, dropout, batch norm": {
        "data__transform__train": AUGMENTED,
        "model": {"type": "ConvNet", "args": {"widths": [4, 4], "hidden": 8}},
    },
    "loader with workers": {
        "data__transform__train": AUGMENTED,
        "data__loader": {"in_memory": False, "num_workers": 2},
    },
    "accumulation with clipping": {
        "trainer__accumulate": 3,
        "trainer__clip": {"norm": 0.5},
        "data__loader__batch_size": 16,
    },
    "an average of the weights": {
        "trainer__ema": {"decay": 0.9},
        "model": {"type": "ConvNet", "args": {"widths": [4, 4], "hidden": 8}},
    },
    "bf16": {"trainer__precision": "bf16"},
    "a schedule per step": {
        "lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": "${trainer.total_steps}"}}
    },
    "a schedule per epoch": {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 1}}},
    "a schedule on a plateau": {
        "lr_scheduler": {"type": "ReduceLROnPlateau", "args": {"patience": 0, "threshold": 0.9}}
    },
    "a chain of schedules": {
        "lr_scheduler": [
            {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 3}, "every": "step", "steps": 3},
            {"type": "CosineAnnealingLR", "args": {"T_max": 3}},
        ]
    },
    "a chain that ends with one cycle": {
        "lr_scheduler": [
            {"type": "ConstantLR", "args": {"factor": 1.0}, "every": "step", "steps": 2},
            {"type": "OneCycleLR", "args": {"max_lr": 0.02, "total_steps": 10}},
        ]
    },
    "epochs of three steps": {"trainer__steps_per_epoch": 3, "trainer__epochs": 4},
    "validation every three steps": {"trainer__validate_every": {"steps": 3}},
    "Adam, saved every two steps": {
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "trainer__save_every": {"steps": 2},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_stopped_run_goes_on_as_if_it_never_stopped(case: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **CASES[case])
    whole = fit(config)
    assert whole.reason == "finished"
    for steps in [(2,), (4, 5)]:
        assert_same_run(whole, stopped_and_resumed(config, *steps))


def test_early_stopping_keeps_its_count_and_the_best(garments: Path, tmp_path: Path) -> None:
    config = small_config(
        tmp_path, garments, trainer__early_stop=2, trainer__epochs=9, trainer__min_delta=0.5, trainer__save_period=4
    )
    whole = fit(config)
    assert whole.reason == "early_stop"
    assert rows(whole)[-1] == {"end": "early_stop"}
    assert_same_run(whole, stopped_and_resumed(config, 6, 9))


def test_other_workers_on_resume_change_nothing(garments: Path, tmp_path: Path) -> None:
    changes = {"data__transform__train": AUGMENTED, "data__loader": {"in_memory": False, "num_workers": 2}}
    config = small_config(tmp_path, garments, **changes)
    whole = fit(config)
    run = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]})
    run = fit(resume=run.path, overrides={"callbacks": [], "data.loader.num_workers": 0})
    assert_same_run(whole, run)
