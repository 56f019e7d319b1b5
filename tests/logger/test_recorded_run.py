"""A run read back from its folder, whatever state that is in and whoever wrote it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from base.runs.lock import held
from base.runs.run_dir import Note, RunDir, runs_below
from logger.compare.runs import flat_config, read_run
from tests.logger.planted_runs import epoch, plant, write_lines


def test_a_whole_run(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203", [0.5, None, 0.6])
    Note("why", ("a",)).add_to(path)
    (path / "test" / "test").mkdir(parents=True)
    scores = {"checkpoint": "000003-step-00000030", "save": 3, "data": "real", "loss": 0.5, "accuracy": 0.75}
    (path / "test" / "test" / "metrics.json").write_text(json.dumps(scores))
    (path / "test" / "night").mkdir()
    (path / "test" / "night" / "metrics.json").write_text('{"accuracy": 0.25}')
    run = read_run(path)
    assert (run.label, run.state, run.problems) == ("small/20261120-164203", "finished", [])
    assert (run.epochs, run.planned, run.seconds) == (3, 3, 90.0)
    assert (run.note, run.tags, run.monitor) == ("why", ["a"], ("max", "val_accuracy"))
    assert run.config["model.args.hidden"] == [16] and run.config["metrics.0.type"] == "accuracy"
    assert run.curves == {
        "loss": [(0, 1.0), (1, 0.5), (2, 1 / 3)],
        "val_accuracy": [(0, 0.5), (1, None), (2, 0.6)],
        "val_loss": [(0, 0.5), (1, None), (2, 0.4)],
        "test_loss": [(3, 0.5)],
        "test_accuracy": [(3, 0.75)],
        "test_night_accuracy": [(3, 0.25)],
    }


@pytest.mark.parametrize(
    ("end", "state"),
    [
        ("finished", "finished"),
        ("early_stop", "stopped early"),
        ("max_time", "out of time"),
        ("signal", "stopped"),
        ("not_finite", "not finite"),
        ("error", "error"),
        (None, "killed"),
        ("enough", "enough"),
    ],
)
def test_states(end: str | None, state: str, tmp_path: Path) -> None:
    assert read_run(plant(tmp_path, "20261120-164203", end=end)).state == state


def test_a_run_under_way_is_running_and_one_whose_process_is_gone_is_not(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203", end=None)
    with held(path):
        assert read_run(path).state == "running"
    assert read_run(path).state == "killed"


def test_a_torn_last_line_is_no_damage_and_a_damaged_one_is_reported(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203", [0.5], end=None)
    whole = (path / "metrics.jsonl").read_bytes()
    (path / "metrics.jsonl").write_bytes(whole + b'{"epoch": 2, "st')
    run = read_run(path)
    assert (run.epochs, run.state, run.problems) == (1, "killed", [])
    (path / "metrics.jsonl").write_bytes(whole + b'{"epoch": 2, "st\n[[[\n{"end": "finished"}\n')
    run = read_run(path)
    assert (run.epochs, run.state, run.problems) == (1, "finished", ["metrics.jsonl: 2 damaged lines"])


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        (b"", "config.yaml: not a mapping"),
        (b"- 1", "config.yaml: not a mapping"),
        (b"a: [1", "config.yaml: while parsing a flow sequence"),
        (b"a: !!python/object/apply:os.system [ls]", "config.yaml: line 1: an alias or a tag"),
        (b"a: &b [1]\nc: *b", "config.yaml: line 2: an alias or a tag"),
        (b"a: " + b"[" * 1_000 + b"]" * 1_000, "config.yaml: more values than a config can hold, or nested too deep"),
        (b"[" * 100_000, "config.yaml: more values than a config can hold, or nested too deep"),
        (b"? " * 100_000, "config.yaml: more values than a config can hold, or nested too deep"),
        (b"\xff\xfe\xfa", "config.yaml: "),
        (b"a: " + b"9" * 400, "config.yaml: too large for a whole number"),
        (b"a: 1\n" * 300_000, "config.yaml: not read: it holds 1,500,000 bytes"),
        (None, "config.yaml: missing"),
    ],
)
def test_a_config_that_cannot_be_read_is_said_and_the_rest_is_there(
    config: bytes | None, problem: str, tmp_path: Path
) -> None:
    path = plant(tmp_path, "20261120-164203")
    (path / "config.yaml").unlink()
    if config is not None:
        (path / "config.yaml").write_bytes(config)
    run = read_run(path)
    assert len(run.problems) == 1 and run.problems[0].startswith(problem)
    assert (run.state, run.epochs, run.planned, run.config, run.monitor) == ("finished", 3, None, {}, ("", ""))


def test_a_folder_that_a_run_had_no_time_to_fill(tmp_path: Path) -> None:
    path = RunDir.create(tmp_path, "small").path
    assert [folder.path for folder in runs_below(tmp_path)] == [path]
    run = read_run(path)
    assert (run.state, run.epochs, run.curves) == ("killed", 0, {})


def test_rows_may_hold_anything(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203")
    large = "1" + "0" * 400
    odd = f'{{"step": 1, "epoch": [], "loss": "0", "seconds": "x", "a": {{}}, "big": {large}, "nan": NaN, "t": true}}'
    odd += f'\n{{"step": {large}, "loss": 1}}\n{{"step": -1}}\n{{"step": true}}'
    (path / "metrics.jsonl").write_text(odd + '\n{"end": {}}\n')
    run = read_run(path)
    assert run.rows == [{"step": 1, "big": None, "nan": None}]
    assert (run.state, run.epochs, run.seconds) == ("killed", 0, 0)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "environment.json", "notes.jsonl", "lock"])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_read(name: str, kind: str, tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203", environment={"python": "3.11"})
    stolen = tmp_path / "stolen"
    stolen.write_text('{"step": 1, "loss": 42.0}\n')
    (path / name).unlink(missing_ok=True)
    if kind == "link":
        (path / name).symlink_to(stolen)
    elif kind == "pipe":
        os.mkfifo(path / name)
    else:
        (path / name).mkdir()
    run = read_run(path)
    assert run.environment == ({} if name == "environment.json" else {"python": "3.11"})
    said = f"{name}: {'a link, which is not followed' if kind == 'link' else 'not a plain file'}"
    assert run.problems == [said]
    assert run.state == ("killed" if name == "metrics.jsonl" else "finished")


def test_no_link_is_followed_on_the_way(tmp_path: Path) -> None:
    path = plant(tmp_path / "saved", "20261120-164203")
    elsewhere = plant(tmp_path / "elsewhere", "20261120-171530")
    (elsewhere / "set").mkdir()
    (elsewhere / "set" / "metrics.json").write_text('{"accuracy": 1.0}')
    (path / "test").symlink_to(elsewhere)
    (tmp_path / "saved" / "linked").symlink_to(elsewhere.parent)
    (tmp_path / "saved" / "small" / "20261120-171530").symlink_to(elsewhere)
    assert [folder.path for folder in runs_below(tmp_path / "saved")] == [path]
    assert read_run(path).tests == {}


def test_runs_are_found_from_any_folder_above_them_in_their_order(tmp_path: Path) -> None:
    second = plant(tmp_path / "sweep", "20261120-164203-2")
    tenth = plant(tmp_path / "sweep", "20261120-164203-10")
    first = plant(tmp_path / "sweep", "20261120-164203")
    other = plant(tmp_path, "20250101-000000", name="zebra")
    (tmp_path / "sweep" / ".hidden").mkdir()
    plant(tmp_path / "sweep" / ".hidden", "20261120-164203")
    for root in (tmp_path, tmp_path / "sweep", tmp_path / "sweep" / "small"):
        found = [folder.path for folder in runs_below(root)]
        assert found == [first, second, tenth, *([other] if root == tmp_path else [])]
    assert [folder.path for folder in runs_below(first)] == [first]
    assert runs_below(tmp_path / "missing") == []


def test_the_confusion_of_a_test(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203")
    (path / "test" / "test").mkdir(parents=True)
    file = path / "test" / "test" / "metrics.json"
    file.write_text('{"accuracy": 0.75, "classes": ["cat", "dog"], "confusion": [[2, 0], [1, 1]]}')
    assert read_run(path).confusion("test") == (["cat", "dog"], [[2, 0], [1, 1]])
    for classes, counts in (
        ("[]", "[]"),
        ('"ab"', "[[1, 0], [0, 1]]"),
        ('["a", "b"]', "[[1, 0], [0]]"),
        ('["a", "b"]', "[[1, 0]]"),
        ('["a"]', "[[1.5]]"),
        ('["a"]', '[["x"]]'),
        ('["a"]', "7"),
        ("null", "null"),
        (json.dumps(list(range(1000))), json.dumps([[0] * 1000] * 1000)),
    ):
        file.write_text(f'{{"classes": {classes}, "confusion": {counts}}}')
        assert read_run(path).confusion("test") is None, classes


def test_values_of_a_config_mean_what_yaml_says(tmp_path: Path) -> None:
    text = b"a: 1e-3\nb: 'yes'\nc: yes\nd: \"8\"\ne: 8\nf: null\ng: []\nh: {}\ni: [1, [2]]\nj: [{k: 0x10}]\nl:\n"
    assert flat_config(text) == {
        "a": 0.001,
        "b": "yes",
        "c": "yes",
        "d": "8",
        "e": 8,
        "f": None,
        "g": [],
        "i.0": 1,
        "i.1": [2],
        "j.0.k": 16,
        "l": None,
    }


def test_evaluations_inside_epochs_count_for_the_curve_and_not_as_epochs(tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-164203")
    inside = {"epoch": 2, "step": 15, "phase": "step", "val_accuracy": 0.9}
    write_lines(path, [{"format": 1}, epoch(1, 0.5), inside, epoch(2, 0.6), {"end": "finished"}])
    run = read_run(path)
    assert run.epochs == 2 and [value for _, value in run.curves["val_accuracy"]] == [0.5, 0.9, 0.6]
