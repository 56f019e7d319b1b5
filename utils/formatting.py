"""Formats numbers, durations and counts for people."""

from __future__ import annotations

import math


def format_number(value: float) -> str:
    """Four decimals if they suffice, else four digits and an exponent."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4f}"
    return f"{value:.3e}"


def format_change(value: float) -> str:
    """A difference, with its sign: `+0.0123`."""
    return f"{'-' if value < 0 else '+'}{format_number(abs(value))}"


def format_significant(value: float) -> str:
    """Three significant digits, enough to recognize a range: `0`, `255`, `-0.81`, `2.02`, `nan`."""
    whole = math.isfinite(value) and (value == int(value) or abs(value) >= 1000)
    return f"{value:,.0f}" if whole and abs(value) < 1e6 else f"{value:.3g}"


def format_duration(seconds: float) -> str:
    """`48 s`, `3:07 min`, `2:03:07 h`"""
    whole = round(seconds)
    if whole < 100:
        return f"{seconds:.1f} s" if whole < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def pluralize(count: int, word: str, plural: str = "") -> str:
    """`1 step`, `360 steps`, `2 batches`"""
    return f"{count:,} {word if count == 1 else plural or word + 's'}"
