"""Projects written for pytorch-template, dropped into a copy of the framework: each trains, tests, resumes bit-exactly.

tests/template_projects holds their files; EDITED says which of their lines are not the original's.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.copied_project import copied_project, run
from tests.small_run import assert_same, last_state, rows

EDITED: dict[str, list[str]] = {
    "blobs": [],
    "weighted": ['"loss": {"type": "weighted_ce", "args": {"class_counts": "${data.class_counts}"}},'],
    "sentences": ['"data": {"keys": {"input": "text", "target": "label"}},'],
    "subjects": [],
    "parts": ['"data": {"valid": "off"},', '"type": "CurveTrainer", "args": {"noise": 0.01}, "steps_per_epoch": 3,'],
    "folds": [
        "code = train(args)",
        "assert code == 0, code",
        '"fold": {"flags": ["--fold"], "target": "data_loader;args;fold"},',
        '"name": {"flags": ["-n"], "target": "name"},',
        '"batch": {"flags": ["--bs", "--batch_size"], "target": "data_loader;args;batch_size"}',
    ],
}
"""Lines other than imports."""

STOP_AT = """
from base import Callback


class StopAt(Callback):
    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, trainer, terms):
        if trainer.progress.step == self.step:
            trainer.stop("test")
"""
DRIVER = """
import glob
import sys
from base.cli import test, train


def script(arguments):
    return __import__(arguments[0]).main() or 0


for command in sys.argv[1].split(";"):
    code, program, *arguments = command.split()
    arguments = [glob.glob(text)[0] if "*" in text else text for text in arguments]
    assert {"train": train, "test": test, "script": script}[program](arguments) == int(code), command
"""


def drive(project: Path, *commands: str) -> str:
    """Several commands in one process, which saves its start; each begins with the exit code that it must have."""
    return run(project, "-c", DRIVER, ";".join(commands))


def only_run(project: Path, name: str) -> Any:
    (path,) = (project / "saved" / name).iterdir()
    return SimpleNamespace(path=path)


def assert_same_runs(project: Path, one: str, other: str) -> None:
    whole, resumed = only_run(project, one), only_run(project, other)
    expected, found = rows(whole), rows(resumed)
    assert [row for row in expected if "epoch" in row] == [row for row in found if "epoch" in row]
    assert_same(last_state(whole), last_state(resumed))


def scores(project: Path, name: str, data: str) -> dict[str, Any]:
    text = (only_run(project, name).path / "test" / data / "metrics.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("name", EDITED)
def test_next_to_nothing_is_edited(name: str) -> None:
    files = (Path(__file__).parent / "template_projects" / name).rglob("*.*")
    lines = {line.strip() for file in files if file.suffix != ".pyc" for line in file.read_text().splitlines()}
    assert set(EDITED[name]) <= lines
    assert len(EDITED[name]) < 10


def test_a_classifier_with_an_epoch_of_its_own_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to end inside an epoch, where it cannot go on; and undisturbed."""
    project = copied_project("blobs", tmp_path)
    (project / "model" / "calm.py").write_text(SIGTERM, encoding="utf-8")
    monkeypatch.setenv("TERM_AT", "13")  # in the second epoch, in its fourth step of nine
    said = run(project, "train.py", "-c", "config.json", "name=part", "loss=calm_nll", code=143)
    assert "read as a config of pytorch-template" in said
    assert (
        "4 steps of epoch 2 are lost: Trainer has its own _train_epoch, so the run can resume only at the end of"
        in said
    )
    monkeypatch.delenv("TERM_AT")
    said = drive(project, "0 train -c config.json", "0 train -r saved/part/*", "0 test -r saved/part/*")
    assert "finished: saved/Blobs/" in said
    assert_same_runs(project, "Blobs", "part")
    tested = scores(project, "part", "test")
    assert tested["accuracy"] > 0.9 and tested["loss"] < 0.5
    whole = only_run(project, "Blobs")
    assert "Train Epoch: 3 [160/270 (59%)] Loss: " in (whole.path / "train.log").read_text(encoding="utf-8")
    (first, *_) = (row for row in rows(whole) if row.get("phase") == "epoch")
    assert list(first) == [
        *("epoch", "step", "phase", "loss", "accuracy", "top_k_acc"),
        *("val_loss", "val_accuracy", "val_top_k_acc", "lr"),
    ]


SIGTERM = """
import os
import signal

from base import LOSSES
from model.loss import nll_loss

calls = 0


@LOSSES.register
def calm_nll(output, target):
    global calls
    calls += output.requires_grad
    if calls == int(os.environ.get("TERM_AT", -1)):
        os.kill(os.getpid(), signal.SIGTERM)
    return nll_loss(output, target)
"""


@pytest.mark.parametrize("name", ["weighted", "parts"])
def test_an_epoch_of_its_own_goes_on_where_it_ended(name: str, tmp_path: Path) -> None:
    """A plateau schedule, metrics over the whole epoch and counters; a loss with a memory, an endless loader."""
    project = copied_project(name, tmp_path)
    said = drive(
        project,
        "0 train -c config.json name=whole",
        "0 train -c config.json name=part trainer.epochs=2",
        "0 train -r saved/part/* trainer.epochs=4 --force",
        "0 test -r saved/part/*",
        "4 train -c config.json optimizer.args.lr=1e38 name=wild",
    )
    assert_same_runs(project, "whole", "part")
    assert scores(project, "part", "test")["checkpoint"].startswith("00000")
    assert "the norm of the gradients is" in said and "the last good checkpoint is saved/wild/" in said


@pytest.mark.parametrize(("name", "test_set"), [("sentences", "valid"), ("subjects", "test")])
def test_a_project_without_a_loop_of_its_own_goes_on_inside_an_epoch(name: str, test_set: str, tmp_path: Path) -> None:
    """Dict batches, random words and a collate of its own; a split by subjects and a sampler that repeats samples."""
    project = copied_project(name, tmp_path)
    (project / "trainer" / "stop_at.py").write_text(STOP_AT, encoding="utf-8")
    (project / "stop.yaml").write_text(
        "extends: config.json\nname: part\ncallbacks: [{type: StopAt, args: {step: 11}}]\n", encoding="utf-8"
    )
    drive(
        project,
        "0 train -c config.json name=whole",
        "0 train -c stop.yaml",
        "0 train -r saved/part/* callbacks=null",
        f"0 test -r saved/part/* --data {test_set}",
    )
    assert_same_runs(project, "whole", "part")
    assert scores(project, "part", test_set)["loss"] < 0.7
    split = load_file(only_run(project, "whole").path / "split.safetensors")
    members = [set(part.tolist()) for part in split.values()]
    assert {"train", "valid", test_set} == set(split)
    assert not members[0] & members[1] and not members[-1] & members[0]


def test_folds_from_a_loop_that_passes_arguments(tmp_path: Path) -> None:
    project = copied_project("folds", tmp_path)
    drive(
        project,
        "0 script run_folds",
        "0 train -c config.json --fold 1 -n part --bs 25 trainer.epochs=2",
        "0 train -r saved/part/* trainer.epochs=3",
        "0 test -r saved/part/* --data valid",
    )
    assert_same_runs(project, "Fold1", "part")
    losses = [rows(only_run(project, f"Fold{fold}"))[1]["val_loss"] for fold in range(3)]
    assert len(set(losses)) == 3
