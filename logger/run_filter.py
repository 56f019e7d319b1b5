"""Filters of runs, as one types them: `val_accuracy>0.9`, `optimizer.type=SGD`, `name=fashion*`, `tag=baseline`."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from base.config.yaml_format import scalar
from logger.comparison import Comparison, Field, FilterError
from logger.recorded_run import RecordedRun

_FILTER = re.compile(r"([A-Za-z_][\w.]*) *(>=|<=|!=|==|=|>|<) *(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def is_filter(word: str) -> bool:
    return _FILTER.fullmatch(word) is not None


def chosen(comparison: Comparison, filters: Sequence[str]) -> list[RecordedRun]:
    """The runs that pass all filters. A run that lacks what is asked for passes `!=` alone; a metric is its best."""
    tests = [_test(comparison, text) for text in filters]
    return [run for run in comparison.runs if all(test(run) for test in tests)]


def ordered(runs: Sequence[RecordedRun], field: Field) -> list[RecordedRun]:
    """The best first where better and worse are known, else the lowest; runs that lack it last."""

    def place(run: RecordedRun) -> tuple[int, float, str]:
        value = field.read(run)
        if isinstance(value, int | float):
            return 0, float(value) if field.lower_is_better else -float(value), ""
        return (2, 0.0, "") if value is None or value == [] else (1, 0.0, str(value))

    return sorted(runs, key=place)


def _test(comparison: Comparison, text: str) -> Callable[[RecordedRun], bool]:
    match = _FILTER.fullmatch(text)
    assert match
    word, sign, wanted = match.groups()
    field = comparison.field(word)
    if sign in _ORDER:
        bound, compare = _number(wanted, text), _ORDER[sign]

        def in_order(run: RecordedRun) -> bool:
            value = field.read(run)
            return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, bound)

        return in_order
    return lambda run: _equal(field.read(run), wanted) != (sign == "!=")


def _number(text: str, whole: str) -> float:
    value = _scalar(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"{whole}: {text!r} is no number, and only numbers have an order")
    return value


def _equal(value: Any, wanted: str) -> bool:
    """A number equals a number however it is written, a list any of its texts; `*` and `?` stand for other letters."""
    if isinstance(value, list):
        return any(_equal(item, wanted) for item in value) or str(value) == wanted
    number = _scalar(wanted)
    if isinstance(value, int | float) and isinstance(number, int | float):
        return value == number and isinstance(value, bool) == isinstance(number, bool)
    written = value if isinstance(value, str) else json.dumps(value)
    return fnmatchcase(written, wanted)


def _scalar(text: str) -> Any:
    try:
        return scalar(text)
    except ValueError:
        return text
