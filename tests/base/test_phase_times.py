"""What is told of where the time goes, from planted times."""

from __future__ import annotations

import pytest

from utils import step_timer
from utils.step_timer import StepTimer


def timed(monkeypatch: pytest.MonkeyPatch, data: float, rest: float, steps: int = 10) -> StepTimer:
    """Steps of so many seconds each, by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(step_timer, "perf_counter", lambda: now[0])
    times = StepTimer()
    for _ in range(steps):
        now[0] += 100  # an evaluation between steps belongs to no phase
        times.begin()
        for phase, seconds in (("data", data), ("forward", rest)):
            now[0] += seconds
            times.end(phase)
    return times


def test_milliseconds_of_a_step_since_the_last_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    times = timed(monkeypatch, 0.001, 0.003)
    assert times.per_step() == pytest.approx({"system/ms_data": 1.0, "system/ms_forward": 3.0})
    times.begin()
    begun = step_timer.perf_counter()
    monkeypatch.setattr(step_timer, "perf_counter", lambda: begun + 0.007)
    times.end("data")
    assert times.per_step() == pytest.approx({"system/ms_data": 7.0, "system/ms_forward": 0.0})


WAITING = "of the step time is spent waiting for data"


@pytest.mark.parametrize(
    ("data", "rest", "workers", "cores", "expected"),
    [
        (
            0.63,
            0.37,
            0,
            4,
            f"63% {WAITING}; data.loader.num_workers: 2 instead of 0 would give about 2.7",
        ),
        (
            0.9,
            0.1,
            0,
            2,
            f"90% {WAITING}; data.loader.num_workers: 2 instead of 0 would give about 2.0",
        ),
        (
            0.5,
            0.5,
            2,
            8,
            f"50% {WAITING}; data.loader.num_workers: 4 instead of 2 would give about 2.0",
        ),
        (0.5, 0.5, 2, 2, "more than 2 workers would not help on 2 cores: make samples cheaper to load"),
    ],
)
def test_waiting_for_data_is_told_with_a_remedy(
    monkeypatch: pytest.MonkeyPatch, data: float, rest: float, workers: int, cores: int, expected: str
) -> None:
    assert expected in timed(monkeypatch, data, rest).bottleneck(workers, cores)


@pytest.mark.parametrize(("data", "rest", "workers"), [(0.2, 0.8, 0), (0.9, 0.1, None), (0.009, 0.001, 0)])
def test_nothing_is_told_where_nothing_is_to_be_gained(
    monkeypatch: pytest.MonkeyPatch, data: float, rest: float, workers: int | None
) -> None:
    """Loading is the smaller part; nothing has to be read; it took too little time to tell."""
    assert timed(monkeypatch, data, rest).bottleneck(workers, 4) == ""
