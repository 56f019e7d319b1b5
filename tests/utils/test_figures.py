"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from utils.formatting import format_change, format_duration, format_number, format_significant, pluralize


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.43214, "0.4321"),
        (0.0, "0.0000"),
        (1.5e-5, "1.500e-05"),
        (-12.5, "-12.5000"),
        (123456.0, "1.235e+05"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.4, "9.4 s"), (48.2, "48 s"), (99.6, "1:40 min"), (187, "3:07 min"), (7387, "2:03:07 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (255.0, "255"),
        (-0.8102, "-0.81"),
        (2.02266, "2.02"),
        (65535.0, "65,535"),
        (1e9, "1e+09"),
        (float("nan"), "nan"),
    ],
)
def test_figures(value: float, text: str) -> None:
    assert format_significant(value) == text


def test_changes_have_a_sign() -> None:
    assert [format_change(value) for value in (0.01234, -0.5, 0.0)] == ["+0.0123", "-0.5000", "+0.0000"]


def test_counts() -> None:
    assert [pluralize(1, "step"), pluralize(9380, "step"), pluralize(2, "batch", "batches")] == [
        "1 step",
        "9,380 steps",
        "2 batches",
    ]
