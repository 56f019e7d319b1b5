"""A bar or lines, drawn by the clock, which these tests turn themselves."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Mapping

import pytest

from logger import console
from logger.console import Bar, Lines, ProgressBar, progress, set_up


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "monotonic", clock)
    return clock


def counted(values: Mapping[str, float]) -> tuple[Callable[[], Mapping[str, float]], list[None]]:
    calls: list[None] = []

    def read() -> Mapping[str, float]:
        calls.append(None)
        return values

    return read, calls


def test_lines_every_thirty_seconds_and_values_read_only_then(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    read, calls = counted({"loss": 0.43214, "accuracy": 0.8})
    lines = ProgressBar(Lines)
    lines.begin("train 3/10", total=938)
    for _ in range(750):
        clock.seconds += 0.125
        lines.advance(read)
    lines.end()
    assert len(calls) == 3
    assert caplog.messages[0] == "train 3/10  240/938  loss 0.4321  accuracy 0.8000  87 s left, run 15:08 min"
    assert [message.split("  ")[1] for message in caplog.messages] == ["240/938", "480/938", "720/938"]


def test_the_time_left_of_a_resumed_phase_counts_what_was_done_since(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lines = ProgressBar(Lines)
    lines.begin("train 3/10", total=200, start=100)
    clock.seconds = 31
    for _ in range(10):
        lines.advance(dict)
    assert caplog.messages == ["train 3/10  101/200  51:09 min left, run 12:54:29 h"]


def test_the_rest_of_the_run_goes_at_the_pace_of_the_last_epoch(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lines = ProgressBar(Lines)
    lines.end_epoch(seconds=100)
    for title in ("train 8/10", "train 10/10"):
        lines.begin(title, total=2)
        clock.seconds += 30
        lines.advance(dict)
        lines.end()
    assert caplog.messages == ["train 8/10  1/2  30 s left, run 3:50 min", "train 10/10  1/2  30 s left"]


def test_a_short_phase_is_not_drawn(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    read, calls = counted({})
    for shown in (ProgressBar(Lines), ProgressBar(Bar)):
        shown.begin("validate", total=10)
        for _ in range(10):
            shown.advance(read)
        shown.end()
    assert calls == []
    assert screen.getvalue() == ""


def test_a_bar_with_the_running_values(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(Bar, "delay", 0.0)
    read, calls = counted({"loss": 0.43214})
    bar = ProgressBar(Bar)
    bar.begin("train 3/10", total=100, start=20)
    for _ in range(40):
        clock.seconds += 0.125
        bar.advance(read)
    drawn = screen.getvalue()
    bar.end()
    assert len(calls) == 10
    assert "train 3/10   40% |" in drawn
    assert "| 40/100, 7.5 s left, run 95 s, loss 0.4321" in drawn
    assert screen.getvalue().endswith("\r")
    assert "\n" not in screen.getvalue()


def test_a_log_line_goes_above_the_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(Bar, "delay", 0.0)
    monkeypatch.setenv("NO_COLOR", "1")
    set_up(2)
    bar = ProgressBar(Bar)
    bar.begin("train 3/10", total=100)
    clock.seconds = 1
    bar.advance(dict)
    logging.getLogger("x").warning("careful")
    bar.end()
    assert "\rcareful\n" in screen.getvalue()


def test_a_phase_within_another(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    lines = ProgressBar(Lines)
    lines.begin("train 1/10", total=100)
    lines.advance(dict)
    lines.begin("val", total=50)
    clock.seconds = 30
    lines.advance(dict)
    lines.end()
    lines.advance(dict)
    lines.close()
    assert caplog.messages == ["val   1/50  24:30 min left", "train 1/10    2/100  24:30 min left, run 4:09:30 h"]


@pytest.mark.parametrize(("terminal", "verbosity", "shown"), [(True, 2, "bar"), (False, 2, "line"), (True, 1, "")])
def test_who_gets_what(
    terminal: bool,
    verbosity: int,
    shown: str,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(Bar, "delay", 0.0)
    phases = progress(verbosity)
    phases.begin("val", total=10)
    clock.seconds = 60
    phases.advance(dict)
    phases.close()
    assert (bool(screen.getvalue()), bool(caplog.messages)) == (shown == "bar", shown == "line")
