"""The table of runs: one line a run, the keys that differ and no others, best and last of each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence

from logger.cells import written
from logger.comparison import ABSENT, Comparison, Score
from logger.seed_groups import Group, Spread, spread
from logger.table import Column, Table
from utils.figures import duration, number


def runs_table(comparison: Comparison) -> Table:
    runs = comparison.runs
    columns = [
        Column("run", [run.label for run in runs]),
        Column("state", [run.state for run in runs]),
        Column("epochs", [f"{run.epochs}/{run.planned or '?'}" for run in runs], True, [run.epochs for run in runs]),
        Column(
            "time", [duration(run.seconds) if run.seconds else "" for run in runs], True, [run.seconds for run in runs]
        ),
        *(_key(comparison, key) for key in comparison.differing),
        *(column for metric in comparison.metrics for column in _metric(comparison, metric)),
        Column("tags", [" ".join(run.tags) for run in runs]),
        Column("note", [run.note for run in runs]),
    ]
    return Table(column for column in columns if column.heading == "run" or any(column.cells))


def groups_table(comparison: Comparison, groups: Sequence[Group]) -> Table:
    """Mean ± standard deviation of the best values, over the runs of each group that came to their end."""
    metrics = [
        Column(metric, [_spread(spread(comparison, group, metric), group) for group in groups], True)
        for metric in comparison.metrics
    ]
    unfinished = [str(group.unfinished or "") for group in groups]
    columns = [
        Column("group", [group.label for group in groups]),
        Column("n", [str(len(group.runs)) for group in groups], True),
        Column("unfinished", unfinished, True),
        *metrics,
    ]
    return Table(column for column in columns if any(column.cells))


def _spread(found: Spread | None, group: Group) -> str:
    """With its own n where some runs of the group lack the metric."""
    return "" if found is None else f"{found}" + f" (n={found.n})" * (found.n != len(group.runs))


def problems(comparison: Comparison) -> list[str]:
    """What could not be read, a line each."""
    return [f"{run.label}: {problem}" for run in comparison.runs for problem in run.problems]


def _key(comparison: Comparison, key: str) -> Column:
    """Empty for a run whose config cannot be read: that is not the same as a key that is absent."""
    values = [run.config.get(key, ABSENT) if run.config else None for run in comparison.runs]
    texts = [written(value) if run.config else "" for run, value in zip(comparison.runs, values, strict=True)]
    numbers = all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)
    return Column(comparison.short(key), texts, numbers, values if numbers else texts, about=key)


def _metric(comparison: Comparison, metric: str) -> list[Column]:
    """Best, with its epoch, and last; one column for what was measured once."""
    scores = [comparison.score(run, metric) for run in comparison.runs]
    better = "lower" if comparison.lower_is_better(metric) else "higher"
    best = [score.best if score else None for score in scores]
    last = [score.last if score else None for score in scores]
    first = Column(metric, [_best(score) if score else "" for score in scores], True, best, better)
    if all(score is None or score.epoch is None for score in scores):
        return [first]
    return [
        first,
        Column("last", [_number(s.last) if s else "" for s in scores], True, last, better, f"{metric}, last"),
    ]


def _best(score: Score) -> str:
    return _number(score.best) + (f" @{score.epoch}" if score.epoch is not None else "")


def _number(value: float | None) -> str:
    return number(math.nan if value is None else value)
