"""Runs compared: what is shown of them, what is filtered out, what comes first, and what is only noise."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from base.errors import UserError
from logger.compare.comparison import Comparison, FilterError
from logger.compare.html_report import draw_curves
from logger.compare.statistics import Spread, groups_of, spread, student_t, verdicts, welch_interval
from logger.compare.tables import difference, overview, read_runs, run_named, select
from tests.logger.planted_runs import epoch, plant, write_lines

ROOT = Path(__file__).resolve().parents[2]
A, B, C = "20261120-100000", "20261120-110000", "20261120-120000"


@pytest.fixture
def three(tmp_path: Path) -> Comparison:
    """A finished run, a killed one with another rate and optimizer, one that stopped early with a note and a tag."""
    plant(tmp_path, A)
    adam: dict[str, Any] = {"optimizer__type": "Adam", "optimizer__args__lr": 0.001, "optimizer__fused": True}
    plant(tmp_path, B, [0.9], end=None, config=adam)
    path = plant(tmp_path, C, [0.8, 0.85], end="early_stop", name="tiny", config={"name": "tiny"})
    (path / "notes.jsonl").write_text('{"time": "", "note": "the one", "tags": ["baseline", "paper"]}\n')
    return read_runs([tmp_path])


def shown(comparison: Comparison, *filters: str, sort: str | None = None, reverse: bool = False) -> list[str]:
    return [run.path.name for run in select(comparison, filters, sort, reverse).runs]


def test_the_table_has_only_the_keys_that_differ(three: Comparison) -> None:
    assert three.differing == ["optimizer.type", "optimizer.args.lr", "optimizer.fused"]
    assert overview(three).splitlines() == [
        "run                    state          epochs  time  optimizer.type     lr  fused  val_accuracy    last"
        "   val_loss    last       loss    last  tags            note",
        "small/20261120-100000  finished          3/3  90 s  SGD               0.1  false     0.7000 @2  0.6000"
        "  0.3000 @2  0.4000  0.3333 @3  0.3333",
        "small/20261120-110000  killed            1/3  30 s  Adam            0.001  true      0.9000 @1  0.9000"
        "  0.1000 @1  0.1000  1.0000 @1  1.0000",
        "tiny/20261120-120000   stopped early     2/3  60 s  SGD               0.1  false     0.8500 @2  0.8500"
        "  0.1500 @2  0.1500  0.5000 @2  0.5000  baseline paper  the one",
    ]


def test_runs_of_equal_configs_show_no_key(three: Comparison) -> None:
    assert select(three, ["optimizer.type=SGD"]).differing == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (["val_accuracy>0.7"], [B, C]),
        (["val_accuracy>=0.7"], [A, B, C]),
        (["val_accuracy.last<0.7"], [A]),
        (["val_loss<0.2"], [B, C]),
        (["optimizer.type=SGD"], [A, C]),
        (["optimizer.type!=SGD"], [B]),
        (["lr=1e-1"], [A, C]),
        (["optimizer.lr<=0.001"], [B]),
        (["optimizer.args.lr==0.1", "name=small"], [A]),
        (["name=sm*"], [A, B]),
        (["run=*1000*"], [A, B]),
        (["state=killed"], [B]),
        (["state=stopped early"], [C]),
        (["epochs<3"], [B, C]),
        (["time>=60"], [A, C]),
        (["tag=paper"], [C]),
        (["tag!=paper"], [A, B]),
        (["note=*one"], [C]),
        (["fused=true"], [B]),
        (["fused=1"], []),
        (["hidden=[16]"], [A, B, C]),
        (["trainer.monitor=max val_accuracy"], [A, B, C]),
        (["lr>100"], []),
    ],
)
def test_filters(filters: list[str], expected: list[str], three: Comparison) -> None:
    assert sorted(shown(three, *filters)) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("val_accuracy", [B, C, A]),  # the highest first
        ("val_loss", [B, C, A]),  # the lowest first
        ("val_accuracy.last", [B, C, A]),
        ("loss", [A, C, B]),
        ("time", [B, C, A]),
        ("lr", [B, A, C]),
        ("optimizer.type", [B, A, C]),
        ("note", [A, B, C]),
    ],
)
def test_sorting(sort: str, expected: list[str], three: Comparison) -> None:
    assert shown(three, sort=sort) == expected
    assert shown(three, sort=sort, reverse=True) == expected[::-1]


def test_a_run_that_lacks_what_is_sorted_by_comes_last(three: Comparison, tmp_path: Path) -> None:
    path = plant(tmp_path, "20261120-090000", [None])
    (path / "config.yaml").unlink()
    comparison = read_runs([tmp_path])
    assert shown(comparison, sort="val_accuracy")[-1] == shown(comparison, sort="lr")[-1] == path.name
    assert shown(comparison, "val_accuracy>0", "lr>0") == [A, B, C]
    assert path.name in shown(comparison, "lr!=0.1")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("val_acuracy>0.9", "no run has 'val_acuracy'; did you mean 'val_accuracy'?"),
        ("optimiser.type=SGD", "no run has 'optimiser.type'; did you mean 'optimizer.type'?"),
        (
            "zzz=1",
            "no run has 'zzz'; there are run, name, state, epochs, time, note, tag, val_accuracy, val_loss and loss, "
            "and the configs' keys",
        ),
        ("type=SGD", "type may be model.type, metrics.0.type or optimizer.type: write more of it"),
        ("lr>fast", "lr>fast: 'fast' is no number, and only numbers have an order"),
    ],
)
def test_a_filter_that_means_nothing_is_refused(word: str, text: str, three: Comparison) -> None:
    with pytest.raises(FilterError) as caught:
        select(three, [word])
    assert str(caught.value) == text


def test_the_direction_is_the_monitors_or_the_names(tmp_path: Path) -> None:
    run = plant(tmp_path, A, config={"trainer__monitor": "max val_error_rate_loss"})
    write_lines(run, [{"step": 1, "phase": "epoch", "epoch": 1, "val_error_rate_loss": 1, "rmse": 1, "f1": 1}])
    comparison = read_runs([tmp_path])
    lower = {metric: comparison.lower_is_better(metric) for metric in comparison.metrics}
    assert lower == {"val_error_rate_loss": False, "rmse": True, "f1": False}


def test_a_value_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    plant(tmp_path, A, [0.5, None])
    line = overview(read_runs([tmp_path])).splitlines()[1]
    assert "0.5000 @1   nan" in line


def test_a_narrow_terminal_gets_the_columns_in_blocks(three: Comparison) -> None:
    text = overview(three, width=70)
    assert max(map(len, text.splitlines())) <= 70
    assert text.count("small/20261120-100000") == text.count("\n\n") + 1 > 2
    assert "fused" in text and "val_loss" in text and "the one" in text


def test_broken_runs_stand_in_the_table_and_below_it(three: Comparison, tmp_path: Path) -> None:
    (tmp_path / "small" / A / "config.yaml").write_text("a: [")
    (tmp_path / "small" / "20261120-130000").mkdir()
    lines = overview(read_runs([tmp_path])).splitlines()
    assert len(lines) == 1 + 4 + 1 + 2
    assert lines[3].split() == ["small/20261120-130000", "killed", "0/?"]
    assert lines[6].startswith("small/20261120-100000: config.yaml: while parsing")
    assert lines[7] == "small/20261120-130000: config.yaml: missing"


def test_nothing_to_show(three: Comparison, tmp_path: Path) -> None:
    assert overview(select(three, ["lr>100"])).startswith("no runs")
    assert json.loads(overview(read_runs([tmp_path / "missing"]), "json"))["runs"] == []


def test_json(three: Comparison) -> None:
    document = json.loads(overview(three, "json"))
    first, second, third = document["runs"]
    assert document["metric"] == "val_accuracy" and document["groups"] == []
    assert first["run"] == f"small/{A}" and Path(first["path"]).is_dir()
    assert (first["state"], first["epochs"], first["planned"], first["seconds"]) == ("finished", 3, 3, 90.0)
    assert first["metrics"]["val_accuracy"] == {"best": 0.7, "epoch": 2, "last": 0.6}
    assert second["config"] == {"optimizer.type": "Adam", "optimizer.args.lr": 0.001, "optimizer.fused": True}
    assert (third["tags"], third["note"], third["problems"]) == (["baseline", "paper"], "the one", [])


def test_csv(three: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(overview(three, "csv"))))
    assert [row["run"] for row in rows] == [f"small/{A}", f"small/{B}", f"tiny/{C}"]
    assert rows[0]["val_loss.best"] == repr(1 - 0.7) and rows[0]["val_accuracy.epoch"] == "2"
    assert rows[1]["optimizer.args.lr"] == "0.001" and rows[2]["tags"] == "baseline paper"


def test_markdown(three: Comparison) -> None:
    lines = overview(select(three, ["tag=paper"]), "markdown").splitlines()
    assert lines[0].startswith("| run | state | epochs | time | val\\_accuracy | last |")
    assert lines[1].startswith("| --- | --- | --: | --: |")
    assert lines[2].startswith("| tiny/20261120-120000 | stopped early | 2/3 | 60 s | 0.8500 @2 | 0.8500 |")
    assert len({line.count(" | ") for line in lines}) == 1


def test_what_a_run_says_steers_no_terminal_no_spreadsheet_no_page(tmp_path: Path) -> None:
    evil = "\x1b[2J=1+1 | <script>alert(1)</script>\r\n[x](javascript:0)"
    for stamp, lr in ((A, "=cmd|' /C calc'!A0"), (B, "\x1b]0;x\x07")):
        path = plant(tmp_path, stamp, config={"optimizer__args__lr": lr})
        (path / "notes.jsonl").write_text(json.dumps({"time": "", "note": evil, "tags": []}) + "\n")
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 9, "=evil\x1b": 1.0}) + "\n")
    comparison = read_runs([tmp_path])
    for form in ("text", "csv", "markdown", "json"):
        text = overview(comparison, form)
        assert "\x1b" not in text and "\r" not in text, form
    assert "\x1b" not in difference(comparison, [A, B])
    markdown = overview(comparison, "markdown")
    assert "<script" not in markdown.replace("\\<", "") and "\\[x\\](" in markdown
    cells = [cell for row in csv.reader(io.StringIO(overview(comparison, "csv"))) for cell in row]
    assert "'=cmd|' /C calc'!A0" in cells and not [cell for cell in cells if cell.startswith("=")]


def seeds(save_dir: Path, lr: float, accuracies: dict[int, float], hour: int, **more: Any) -> None:
    for seed, accuracy in accuracies.items():
        config = {"seed": seed, "optimizer__args__lr": lr}
        plant(save_dir, f"20261120-{hour:02}{seed:02}00", [0.1, accuracy], config=config, **more)


def test_seeds_are_grouped_as_mean_and_deviation_and_noise_is_called_noise(tmp_path: Path) -> None:
    seeds(tmp_path, 0.1, {0: 0.80, 1: 0.82, 2: 0.84}, 10)
    seeds(tmp_path, 0.2, {0: 0.81, 1: 0.80, 2: 0.83}, 11)
    seeds(tmp_path, 0.3, {0: 0.60, 1: 0.61, 2: 0.59}, 12)
    seeds(tmp_path, 0.4, {0: 0.70}, 13)
    seeds(tmp_path, 0.3, {3: 0.99}, 14, end=None)
    comparison = read_runs([tmp_path])
    groups = groups_of(comparison)
    assert [(group.label, len(group.runs), group.unfinished) for group in groups] == [
        ("lr=0.1", 3, 0),
        ("lr=0.2", 3, 0),
        ("lr=0.3", 3, 1),
        ("lr=0.4", 1, 0),
    ]
    found = spread(comparison, groups[0], "val_accuracy")
    assert found == Spread(pytest.approx(0.82), pytest.approx(0.02), 3) and str(found) == "0.8200 ± 0.0200"
    assert verdicts(comparison, groups) == [
        "val_accuracy: lr=0.1 (0.8200 ± 0.0200, n=3) against lr=0.2 (0.8133 ± 0.0153, n=3): the difference of 0.0067 "
        "lies within seed noise (95% interval by Welch's t: -0.0348 to 0.0481)",
        "val_accuracy: lr=0.1 (0.8200 ± 0.0200, n=3) against lr=0.3 (0.6000 ± 0.0100, n=3): the difference of 0.2200 "
        "is more than seed noise (95% interval by Welch's t: 0.1784 to 0.2616)",
        "val_accuracy: one run alone does not show the noise: lr=0.4",
    ]
    text = overview(comparison)
    assert verdicts(comparison, groups)[0] in text and "0.8200 ± 0.0200" in text
    (group, *_) = json.loads(overview(comparison, "json"))["groups"]
    assert group["group"] == "lr=0.1" and group["metrics"]["val_accuracy"]["n"] == 3


def test_of_many_groups_those_next_to_the_best_have_a_sentence_each(tmp_path: Path) -> None:
    for number in range(12):
        seeds(tmp_path, 0.1 + number, {0: 0.9 - number / 50, 1: 0.91 - number / 50}, number)
    sentences = verdicts(read_runs([tmp_path]), groups_of(read_runs([tmp_path])))
    assert len(sentences) == 9 and sentences[-1] == "val_accuracy: of 3 more groups 0 lie within seed noise of the best"


def test_equal_seeds_count_once(tmp_path: Path) -> None:
    for stamp, accuracy in ((A, 0.1), (B, 0.7)):
        plant(tmp_path, stamp, [accuracy])
    assert groups_of(read_runs([tmp_path])) == []
    plant(tmp_path, C, [0.9], config={"seed": 1})
    (group,) = groups_of(read_runs([tmp_path]))
    assert [run.path.name for run in group.runs] == [B, C]


def test_folds_are_grouped_too_and_a_lower_loss_is_the_better_one(tmp_path: Path) -> None:
    for lr in (0.1, 0.2):
        for fold in (0, 1):
            config = {"project": {"fold": fold}, "optimizer__args__lr": lr, "trainer__monitor": "min val_loss"}
            plant(tmp_path, f"20261120-{int(lr * 10)}0{fold}000", [lr + fold / 100], config=config)
    comparison = read_runs([tmp_path])
    assert [(group.label, len(group.runs)) for group in groups_of(comparison)] == [("lr=0.1", 2), ("lr=0.2", 2)]
    (sentence,) = verdicts(comparison, groups_of(comparison))
    assert sentence.startswith("val_loss: lr=0.2 (0.7950 ± 0.0071, n=2) against lr=0.1 (0.8950 ± 0.0071, n=2)")


def test_without_repeats_there_are_no_groups(three: Comparison) -> None:
    assert groups_of(three) == []


@pytest.mark.parametrize(
    ("confidence", "freedom", "t"),
    [  # from any table of Student's distribution
        (0.95, 1, 12.7062),
        (0.95, 2, 4.30265),
        (0.95, 4, 2.77645),
        (0.99, 10, 3.16927),
        (0.95, 100, 1.98397),
        (0.95, 1e6, 1.95997),
    ],
)
def test_the_quantiles_are_those_of_students_table(confidence: float, freedom: float, t: float) -> None:
    assert student_t(confidence, freedom) == pytest.approx(t, abs=5e-5 * t)


def test_equal_results_of_all_seeds_leave_no_room_for_noise() -> None:
    assert welch_interval(Spread(0.5, 0.0, 2), Spread(0.25, 0.0, 3)) == (0.25, 0.25)


GIT = {"commit": "a" * 40, "diff": "diff --git a/x.py b/x.py\n+one\ndiff --git a/y.py b/y.py\n+same\n", "untracked": []}


def test_the_difference_of_two_runs(tmp_path: Path) -> None:
    one = {"command": "train.py -c a", "python": "3.11.7", "packages": {"torch": "2.15.0"}, "threads": 1, "git": GIT}
    other = one | {"packages": {"torch": "2.14.0"}, "threads": 2, "command": "train.py -c b"}
    diff = "diff --git a/x.py b/x.py\n+two\ndiff --git a/y.py b/y.py\n+same\n"
    other["git"] = {"commit": "b" * 40, "diff": diff, "untracked": ["new.py"]}
    plant(tmp_path, A, [0.5, 0.7, 0.6], environment=one)
    plant(tmp_path, B, [0.4, 0.8], config={"optimizer__args__lr": 0.2}, environment=other, end=None)
    comparison = read_runs([tmp_path])
    assert difference(comparison, [A, B]).splitlines() == [
        f"A  small/{A}  finished, 3 epochs",
        f"B  small/{B}  killed, 2 epochs",
        "",
        "config",
        "                     A    B",
        "  optimizer.args.lr  0.1  0.2",
        "",
        "code: git diff aaaaaaaaaa bbbbbbbbbb",
        "  uncommitted in x.py",
        "    @@ -2 +2 @@",
        "    -+one",
        "    ++two",
        "  uncommitted in new.py",
        "    @@ -0,0 +1 @@",
        "    +not in git",
        "",
        "environment",
        "           A       B",
        "  torch    2.15.0  2.14.0",
        "  threads  1       2",
        "",
        "metrics at epoch 2, the last that both have, and best",
        "                     A       B    B - A  best A  best B    B - A",
        "  val_accuracy  0.7000  0.8000  +0.1000  0.7000  0.8000  +0.1000",
        "  val_loss      0.3000  0.2000  -0.1000  0.3000  0.2000  -0.1000",
        "  loss          0.5000  0.5000  +0.0000  0.3333  0.5000  +0.1667",
    ]
    document = json.loads(difference(comparison, [A, B], "json"))
    assert document["config"] == {"optimizer.args.lr": [0.1, 0.2]}
    assert document["environment"] == {"torch": ["2.15.0", "2.14.0"], "threads": [1, 2]}
    assert document["epoch"] == 2 and document["metrics"]["val_accuracy"] == [0.7, 0.8]
    assert document["changed_files"] == ["x.py", "new.py"]


def test_a_run_does_not_differ_from_itself(tmp_path: Path) -> None:
    plant(tmp_path, A, environment={"git": GIT, "python": "3.11"})
    text = difference(read_runs([tmp_path]), [A, A])
    assert "config: the same" in text and "environment: the same" in text and "commit aaaaaaaaaa in both" in text


def test_a_commit_that_is_none_is_not_put_into_a_command(tmp_path: Path) -> None:
    for stamp in (A, B):
        plant(tmp_path, stamp, environment={"git": {"commit": "--output=/etc/passwd", "diff": 7, "untracked": 7}})
    text = difference(read_runs([tmp_path]), [A, B])
    assert "code: not known: environment.json names no commit of A and B" in text and "--output" not in text


def test_runs_without_a_common_epoch_are_compared_by_their_best(tmp_path: Path) -> None:
    plant(tmp_path, A)
    write_lines(plant(tmp_path, B), [epoch(9, 0.9)])
    assert "metrics no epoch in common" in difference(read_runs([tmp_path]), [A, B])


def test_a_run_is_named_by_any_part_that_is_its_own(three: Comparison, tmp_path: Path) -> None:
    for name in (A, "20-10", f"small/{A}", str(tmp_path / "small" / A)):
        assert run_named(three, name).path.name == A
    with pytest.raises(
        FilterError, match=r"^small may be \S+/small/20261120-100000 or \S+/small/20261120-110000: write"
    ):
        run_named(three, "small")
    with pytest.raises(FilterError, match=r"^small/20261120-100001: there is no such run; did you mean"):
        run_named(three, "small/20261120-100001")


def test_runs_of_the_same_name_in_two_folders_are_two(tmp_path: Path) -> None:
    one, other = (plant(tmp_path / place, A) for place in ("here", "there"))
    comparison = read_runs([tmp_path / "here", tmp_path])
    assert [run.path for run in comparison.runs] == [one, other]
    with pytest.raises(FilterError, match=r"may be .*here.* or .*there.*: write more of it, or the folder"):
        run_named(comparison, f"small/{A}")
    assert run_named(comparison, str(other)).path == other


def test_configs_are_compared_to_the_last_type(tmp_path: Path) -> None:
    plant(tmp_path, A, config={"optimizer__args__lr": 1})
    plant(tmp_path, B, config={"optimizer__args__lr": 1.0})
    assert read_runs([tmp_path]).differing == ["optimizer.args.lr"]


def test_the_plot_has_a_chart_for_each_quantity(three: Comparison, tmp_path: Path) -> None:
    from matplotlib.image import imread

    assert three.charts == {"accuracy": ["val_accuracy"], "loss": ["val_loss", "loss"]}
    draw_curves(three, tmp_path / "curves.png")
    height, width, _ = imread(tmp_path / "curves.png").shape
    assert width > 2 * 600 and height > 400
    with pytest.raises(UserError, match=r"curves.txt: a picture's name ends in .png, .svg or .pdf"):
        draw_curves(three, tmp_path / "curves.txt")
    with pytest.raises(UserError, match="there is no curve to draw"):
        draw_curves(select(three, ["lr>100"]), tmp_path / "curves.png")


def test_several_validation_sets_share_a_chart_with_what_they_measure(tmp_path: Path) -> None:
    row = {"step": 1, "top_loss": 1.0, "loss": 1.0, "val_night_loss": 1.0, "val_day_top_loss": 1.0, "test_loss": 1.0}
    write_lines(plant(tmp_path, A), [row])
    charts = read_runs([tmp_path]).charts
    assert charts == {"loss": ["val_night_loss", "loss"], "top_loss": ["val_day_top_loss", "top_loss"]}


def command(*argv: object, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "tools/compare.py", *map(str, argv)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, **options)


def test_the_command(three: Comparison, tmp_path: Path) -> None:
    done = command(tmp_path, "val_accuracy>0.7", "--sort", "val_accuracy", "--json")
    assert [run["run"] for run in json.loads(done.stdout)["runs"]] == [f"small/{B}", f"tiny/{C}"]
    refused = command(tmp_path, "val_accuracy")
    hint = "write filters with > or < in quotes: 'val_accuracy>0.9'"
    assert (refused.returncode, refused.stderr) == (2, f"val_accuracy: no such folder, and no filter; {hint}\n")
    assert "config" in command(tmp_path, "--diff", A, B).stdout
    refused = command(tmp_path, "--diff", A, B, "--csv")
    assert refused.returncode == 2 and "--diff prints text or --json, not --csv" in refused.stderr


def test_no_torch_is_needed(three: Comparison, tmp_path: Path) -> None:
    program = (
        "import runpy, sys\n"
        f"sys.argv = ['compare.py', {str(tmp_path)!r}]\n"
        "try:\n    runpy.run_path('tools/compare.py', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "print({'torch', 'numpy', 'pydantic', 'matplotlib', 'tensorboard'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
