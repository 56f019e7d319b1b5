"""Groups of runs that differ only in seed or fold: mean, standard deviation, and whether a difference is noise."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from base.errors import listing
from logger.compare.comparison import UNINTERESTING, Comparison
from logger.compare.runs import WHOLE, RecordedRun
from logger.compare.text_table import written
from utils.formatting import format_number

REPEATS = re.compile(r"(.*\.)?(seed|fold|fold_id|fold_index)")
"""Config keys in which the runs of one group may differ."""
CONFIDENCE = 0.95
MOST_VERDICTS = 8


@dataclass(frozen=True)
class RunGroup:
    """Runs whose configs are equal except for `REPEATS`."""

    label: str
    """What distinguishes them from other groups."""
    runs: list[RecordedRun]
    """The runs that reached their end; of several with the same seed, only the last."""
    unfinished: int
    """How many seeds did not reach their end; they do not count."""


@dataclass(frozen=True)
class Spread:
    """The best values of a metric over the runs of a group. `std` is that of a sample (n - 1); None for one run."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        """`0.8712 ± 0.0031`"""
        mean = format_number(self.mean)
        if self.std is None:
            return mean
        return f"{mean} ± {format_number(self.std) if 'e' in mean else f'{self.std:.4f}'}"


def groups_of(comparison: Comparison) -> list[RunGroup]:
    """In the order of their first runs; empty if no two runs repeat each other with another seed or fold."""
    alike: dict[tuple[Any, ...], dict[tuple[Any, ...], list[RecordedRun]]] = {}
    for run in comparison.runs:
        if run.config:
            config = sorted((key, repr(value)) for key, value in run.config.items() if key not in UNINTERESTING)
            seed = tuple(item for item in config if REPEATS.fullmatch(item[0]))
            rest = tuple(item for item in config if not REPEATS.fullmatch(item[0]))
            alike.setdefault(rest, {}).setdefault(seed, []).append(run)
    if all(len(by_seed) == 1 for by_seed in alike.values()):
        return []
    keys = [key for key in comparison.differing if not REPEATS.fullmatch(key)]
    return [_group(comparison, list(by_seed.values()), keys) for by_seed in alike.values()]


def _group(comparison: Comparison, by_seed: Sequence[Sequence[RecordedRun]], keys: Sequence[str]) -> RunGroup:
    first = by_seed[0][0]
    label = ", ".join(f"{comparison.short(key)}={written(first.config[key])}" for key in keys if key in first.config)
    whole = [ended[-1] for runs in by_seed if (ended := [run for run in runs if run.state in WHOLE])]
    return RunGroup(label or first.path.parent.name, whole, len(by_seed) - len(whole))


def spread(comparison: Comparison, group: RunGroup, metric: str) -> Spread | None:
    """None if no run of the group has the metric."""
    scores = [comparison.score(run, metric) for run in group.runs]
    values = [score.best for score in scores if score and score.best is not None]
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values)) if values else None


def verdicts(comparison: Comparison, groups: Sequence[RunGroup]) -> list[str]:
    """A sentence for each group but the best: is it worse by the main metric, or is the difference noise? Of many
    groups, only those closest to the best."""
    metric = comparison.main
    known = [(found, group) for group in groups if (found := spread(comparison, group, metric))]
    known.sort(key=lambda pair: pair[0].mean if comparison.lower_is_better(metric) else -pair[0].mean)
    several = [(found, group) for found, group in known if found.std is not None]
    others = several[1:]
    sentences = [_verdict(metric, several[0], other) for other in others[:MOST_VERDICTS]]
    if more := others[MOST_VERDICTS:]:
        intervals = [welch_interval(several[0][0], found) for found, _ in more]
        within = sum(low <= 0 <= high for low, high in intervals)
        sentences.append(f"{metric}: of {len(more)} more groups {within} lie within seed noise of the best")
    if alone := [group.label for found, group in known if found.std is None]:
        sentences.append(f"{metric}: one run alone does not show the noise: {listing(alone, 'and')}")
    return sentences


def _verdict(metric: str, best: tuple[Spread, RunGroup], other: tuple[Spread, RunGroup]) -> str:
    low, high = welch_interval(best[0], other[0])
    names = " against ".join(f"{group.label} ({found}, n={found.n})" for found, group in (best, other))
    what = "lies within seed noise" if low <= 0 <= high else "is more than seed noise"
    interval = f"{CONFIDENCE:.0%} interval by Welch's t: {format_number(low)} to {format_number(high)}"
    distance = format_number(abs(best[0].mean - other[0].mean))
    return f"{metric}: {names}: the difference of {distance} {what} ({interval})"


def welch_interval(one: Spread, other: Spread, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The confidence interval of the difference of two means, for samples of unequal variance.

    mean difference ± t · sqrt(s1²/n1 + s2²/n2), with the degrees of freedom of Welch and Satterthwaite: B. L. Welch,
    "The generalization of Student's problem when several different population variances are involved", Biometrika 34
    (1947). Both samples need two values or more. With many groups some of the intervals miss by chance.
    """
    assert one.std is not None and other.std is not None
    parts = [one.std**2 / one.n, other.std**2 / other.n]
    difference, variance = one.mean - other.mean, sum(parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / (parts[0] ** 2 / (one.n - 1) + parts[1] ** 2 / (other.n - 1))
    reach = student_t(confidence, freedom) * math.sqrt(variance)
    return difference - reach, difference + reach


def student_t(confidence: float, freedom: float, pieces: int = 200_000) -> float:
    """The t for which P(|T| < t) = `confidence`, T being Student's with `freedom` >= 1 degrees; good to 1e-5.

    With T = sqrt(freedom) tan(u), the density of u is proportional to cos(u)^(freedom - 1) between 0 and pi/2.
    """
    import numpy as np  # most comparisons have no groups and start faster without it

    edges = np.linspace(0, math.pi / 2, pieces + 1)
    density = np.cos((edges[1:] + edges[:-1]) / 2) ** (freedom - 1)
    probability = np.concatenate([[0.0], np.cumsum(density) / density.sum()])
    return math.sqrt(freedom) * math.tan(float(np.interp(confidence, probability, edges)))
