"""The benchmarks' machinery, on small sizes and planted figures. No figure that a clock gave is looked at."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from base import CALLBACKS, MODELS
from base.cli import train
from benchmarks import peers
from benchmarks.__main__ import main
from benchmarks.job import STAMPS, read_stamps
from benchmarks.launch import Ended, fresh_process
from benchmarks.table import compare, table
from benchmarks.workloads import WORKLOADS


def here(command: Sequence[str]) -> Ended:
    """The command in this process, which has torch already: a start costs 2 s."""
    program, *arguments = command
    stamps, output, status = Path(os.environ[STAMPS]), io.StringIO(), 0
    stamps.unlink(missing_ok=True)
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output), contextlib.suppress(SystemExit):
        if program == "train.py":
            status = train(arguments)
        elif program == "-m":
            importlib.import_module(arguments[0]).main(arguments[1:])
    return Ended(read_stamps(stamps), status, 1.0, 1.0, output.getvalue())


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str, Any]]:
    """Exit status, tables and figures of one small round of everything."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        for registry in (CALLBACKS, MODELS):  # the benchmark's own names are gone again after these tests
            patch.setattr(registry, "_registered", dict(registry._registered))
        patch.setenv(STAMPS, str(folder / "stamps"))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            status = main(["--small", "--rounds", "1", "--json", str(folder / "all.json")], launch=here)
        yield status, printed.getvalue(), json.loads((folder / "all.json").read_text(encoding="utf-8"))["results"]


def test_every_contestant_of_every_workload_has_its_figures_and_did_the_same_work(
    report: tuple[int, str, dict[str, Any]],
) -> None:
    status, text, results = report
    assert status == 0 and "failed" not in text
    assert [name.split()[0] for name in results] == [name for name, makers in WORKLOADS.items() for _ in makers]
    for rounds in results.values():
        for contestant, figures in rounds.items():
            assert f"| {contestant} |" in text
            assert len(figures) == 1 and all(value > 0 for value in figures[0].values())
    epochs = [rounds for name, rounds in results.items() if "second epoch" in name]
    assert len(epochs) == 2 and all({"limit", "quickstart", "atelier"} <= {*rounds} for rounds in epochs)


def planted(*values: float) -> list[dict[str, float] | None]:
    return [{"cpu": value, "wall": 2 * value} for value in values]


def test_ratios_are_taken_round_by_round() -> None:
    limit, other = planted(1.0, 2.0, 4.0), planted(1.5, 2.0, 8.0)
    assert compare(other, limit, "cpu") == [1.5, 1.0, 2.0]
    assert compare(other, limit, "cpu", over=True) == [0.5, 0.0, 4.0]
    text = table({"limit": limit, "other": other}, {"cpu": "processor s"}, {"wall": "wall s"})
    assert text.splitlines()[0] == "| contestant | processor s | x limit | wall s |"
    assert text.splitlines()[2:] == [
        "| limit | 2.00 [1.00..4.00] | 1.00 | 4.00 |",
        "| other | 2.00 [1.50..8.00] | 1.50 [1.00..2.00] | 4.00 |",
    ]


def test_a_failed_round_is_left_out_and_nothing_but_failed_ones_is_said() -> None:
    text = table({"limit": planted(1.0, 2.0), "other": [None, {"cpu": 3.0}], "none": [None, None]}, {"cpu": "s"}, {})
    assert text.splitlines()[-2:] == ["| other | 3.00 | 1.50 |", "| none | failed | failed |"]


def stamps(loss: float) -> Ended:
    lines = [{"at": at, "cpu": cpu, "wall": cpu, "peak": 1.0} for at, cpu in (("epoch", 1.0), ("epoch", 3.0))]
    return Ended([*lines, {"at": "end", "loss": loss, "raw": 1.0}], 0, 3.0, 3.0, "")


def test_other_work_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Who does not learn as the limit does is no faster for it."""

    def launch(command: Sequence[str]) -> Ended:
        return stamps(loss=2.3 if "benchmarks.quickstart" in command else 1.5)

    assert main(["W1", "--small", "--rounds", "2"], launch=launch) == 1
    out, err = capsys.readouterr()
    assert "| atelier | 2.00 [2.00..2.00] | 1.00 | 2.00 | 1.50 |" in out
    assert "not the same work: quickstart ends with a loss of 2.3000, limit with 1.5000" in err
    assert "atelier ends" not in err


def test_a_contestant_that_fails_is_told_with_its_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    def launch(command: Sequence[str]) -> Ended:
        return Ended([], 2, 0.1, 0.1, "no such thing") if command[0] == "train.py" else stamps(loss=1.5)

    assert main(["W2", "--small", "--rounds", "1"], launch=launch) == 1
    out, err = capsys.readouterr()
    assert "| atelier | failed | failed | failed | failed |" in out and "| limit | 2.00 | 1.00 |" in out
    assert "atelier failed with exit status 2:\nno such thing" in err


def test_an_unknown_workload_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["W11"])
    assert "W11: expected one of W1, W2" in capsys.readouterr().err


def test_a_fresh_process_has_one_thread_a_terminal_and_cached_byte_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    code = (
        "import os, sys; from benchmarks.job import stamp; stamp('end', terminal=sys.stderr.isatty());"
        "print(os.environ['OMP_NUM_THREADS'], sys.dont_write_bytecode); print('bar', file=sys.stderr); sys.exit(3)"
    )
    ended = fresh_process(["-c", code])
    assert [stamp["terminal"] for stamp in ended.at("end")] == [True] and ended.status == 3
    assert ended.output.split() == ["1", "False", "bar"] and 0 < ended.at("end")[0]["cpu"] <= ended.cpu


@pytest.mark.parametrize(
    ("installed", "may", "says"),
    [
        ({}, False, "Lightning is not installed, so it is left out: pip install lightning"),
        ({"lightning": "2.6.6"}, True, ""),
        ({"pytorch-lightning": "2.6.3"}, False, "pytorch-lightning 2.6.3 is refused"),
    ],
)
def test_lightning_is_measured_if_it_may_be(
    monkeypatch: pytest.MonkeyPatch, installed: Mapping[str, str], may: bool, says: str
) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(metadata, "version", version)
    allowed, why_not = peers.lightning()
    assert allowed is may and why_not.startswith(says)
