"""What a person sees, line by line."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from logger.console import EPOCH, TrainLog, set_up

log = logging.getLogger("some.module")
ROOT = Path(__file__).resolve().parents[2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def say_everything() -> None:
    log.info("Using cpu device")
    log.log(EPOCH, "epoch 1/2")
    log.warning("careful")


@pytest.mark.parametrize(("verbosity", "out"), [(0, ""), (1, "epoch 1/2\n"), (2, "Using cpu device\nepoch 1/2\n")])
def test_verbosity(verbosity: int, out: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(verbosity)
    say_everything()
    assert capsys.readouterr() == (out, "careful\n")


def test_set_up_again_changes_the_verbosity_and_doubles_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(2)
    set_up(1)
    say_everything()
    assert capsys.readouterr().out == "epoch 1/2\n"


def test_the_train_log_has_everything_with_time_and_level(tmp_path: Path) -> None:
    set_up(0)
    log.info("before there was a folder")
    train_log = TrainLog(tmp_path / "train.log")
    say_everything()
    train_log.close()
    log.info("after the run")
    lines = (tmp_path / "train.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
    expected = ["INFO    before there was a folder", "INFO    Using cpu device", "EPOCH   epoch 1/2", "WARNING careful"]
    assert [re.sub(stamp, "", line, count=1) for line in lines] == expected
    assert all(re.match(stamp, line) for line in lines)


def test_a_resume_appends_to_the_train_log(tmp_path: Path) -> None:
    for word in ("first", "second"):
        set_up(0)
        train_log = TrainLog(tmp_path / "train.log")
        log.info(word)
        train_log.close()
    assert [line.split()[-1] for line in (tmp_path / "train.log").read_text().splitlines()] == ["first", "second"]


def test_a_traceback_is_for_the_train_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(2)
    train_log = TrainLog(tmp_path / "train.log")
    try:
        raise ValueError("broken")
    except ValueError:
        log.info("the whole of it", exc_info=True)
        log.error("it is broken", exc_info=True)
    train_log.close()
    assert capsys.readouterr() == ("", "it is broken\n")
    assert (tmp_path / "train.log").read_text().count("ValueError: broken") == 2


@pytest.mark.filterwarnings("default")
def test_a_warning_of_python_is_a_line_like_any_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(2)
    train_log = TrainLog(tmp_path / "train.log")
    warnings.warn("deprecated in 3.0", UserWarning, stacklevel=1)
    train_log.close()
    assert "UserWarning: deprecated in 3.0" in capsys.readouterr().err
    assert "UserWarning: deprecated in 3.0" in (tmp_path / "train.log").read_text()


@pytest.mark.parametrize(
    ("setting", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_on_a_terminal_that_wants_it(
    setting: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    set_up(2)
    log.error("lost")
    log.info("plain")
    log.log(EPOCH, "better", extra={"improved": True})
    assert err.getvalue() == ("\033[31mlost\033[0m\n" if coloured else "lost\n")
    assert out.getvalue() == ("plain\n\033[1mbetter\033[0m\n" if coloured else "plain\nbetter\n")


def test_no_colour_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    set_up(2)
    log.error("lost")
    assert capsys.readouterr().err == "lost\n"


def test_a_run_goes_on_when_nobody_reads_any_more(tmp_path: Path) -> None:
    program = f"""
import logging, pathlib, sys
from logger.console import TrainLog, set_up
set_up(2)
log = TrainLog(pathlib.Path({str(tmp_path / "train.log")!r}))
for number in range(5000):
    logging.getLogger("x").info("line %d %s", number, "." * 100)
log.close()
print("printed")
sys.exit(3)
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith("line 0 ")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 3
    assert (tmp_path / "train.log").read_text().splitlines()[-1].endswith("line 4999 " + "." * 100)
