"""Groups of runs that differ only in seed or fold: mean, spread, and whether a difference is noise."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from base.errors import listing
from logger.compare.comparison import UNINTERESTING, Comparison
from logger.compare.runs import WHOLE, RecordedRun
from logger.compare.text_table import written
from utils.formatting import format_number

REPEATS = re.compile(r"(.*\.)?(seed|fold|fold_id|fold_index)")
"""Keys of a config in which runs of one group may differ."""
CONFIDENCE = 0.95
MOST_VERDICTS = 8
Identity = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunGroup:
    """Runs with equal configs but for `REPEATS`."""

    label: str
    """What tells them from other groups."""
    runs: list[RecordedRun]
    """Those that came to their end; of several with the same seed, which are no more than one, the last."""
    unfinished: int
    """How many seeds did not come to their end: they do not count."""


@dataclass(frozen=True)
class Spread:
    """The best values of a metric over the runs of a group. `std` is that of a sample (n - 1); None for one run."""

    mean: float
    std: float | None
    n: int

    def __str__(self) -> str:
        """`0.8712 ± 0.0031`"""
        if self.std is None:
            return format_number(self.mean)
        mean = format_number(self.mean)
        return f"{mean} ± {format_number(self.std) if 'e' in mean else f'{self.std:.4f}'}"


def groups_of(comparison: Comparison) -> list[RunGroup]:
    """In the order of their first runs; empty if no two runs repeat each other with another seed or fold."""
    alike: dict[Identity, list[RecordedRun]] = {}
    for run in comparison.runs:
        if run.config:
            alike.setdefault(_identity(run, repeats=False), []).append(run)
    if not any(len({_identity(run, repeats=True) for run in runs}) > 1 for runs in alike.values()):
        return []
    keys = [key for key in comparison.differing if not REPEATS.fullmatch(key)]
    return [_group(comparison, runs, keys) for runs in alike.values()]


def _group(comparison: Comparison, runs: Sequence[RecordedRun], keys: Sequence[str]) -> RunGroup:
    config = runs[0].config
    label = ", ".join(f"{comparison.short(key)}={written(config[key])}" for key in keys if key in config)
    whole = {_identity(run, repeats=True): run for run in runs if run.state in WHOLE}
    unfinished = {_identity(run, repeats=True) for run in runs} - set(whole)
    return RunGroup(label or runs[0].path.parent.name, list(whole.values()), len(unfinished))


def spread(comparison: Comparison, group: RunGroup, metric: str) -> Spread | None:
    """None if no run of the group has the metric."""
    scores = [comparison.score(run, metric) for run in group.runs]
    values = [score.best for score in scores if score and score.best is not None]
    return Spread(fmean(values), stdev(values) if len(values) > 1 else None, len(values)) if values else None


def verdicts(comparison: Comparison, groups: Sequence[RunGroup]) -> list[str]:
    """A sentence for each group but the best: is it worse by the metric that counts, or is the difference noise? Of
    many groups those next to the best."""
    metric = comparison.main
    known = [(found, group) for group in groups if (found := spread(comparison, group, metric))]
    known.sort(key=lambda pair: pair[0].mean if comparison.lower_is_better(metric) else -pair[0].mean)
    several = [(found, group) for found, group in known if found.std is not None]
    others = several[1:]
    sentences = [_verdict(metric, several[0], other) for other in others[:MOST_VERDICTS]]
    if more := others[MOST_VERDICTS:]:
        within = sum(_is_noise(several[0][0], found) for found, _ in more)
        sentences.append(f"{metric}: of {len(more)} more groups {within} lie within seed noise of the best")
    if alone := [group.label for found, group in known if found.std is None]:
        sentences.append(f"{metric}: one run alone does not show the noise: {listing(alone, 'and')}")
    return sentences


def _is_noise(one: Spread, other: Spread) -> bool:
    low, high = welch_interval(one, other)
    return low <= 0 <= high


def _verdict(metric: str, best: tuple[Spread, RunGroup], other: tuple[Spread, RunGroup]) -> str:
    (one, _), (two, _) = best, other
    low, high = welch_interval(one, two)
    what = "lies within seed noise" if _is_noise(one, two) else "is more than seed noise"
    names = " against ".join(f"{group.label} ({found}, n={found.n})" for found, group in (best, other))
    interval = f"{CONFIDENCE:.0%} interval by Welch's t: {format_number(low)} to {format_number(high)}"
    return f"{metric}: {names}: the difference of {format_number(abs(one.mean - two.mean))} {what} ({interval})"


def welch_interval(one: Spread, other: Spread, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Where the difference of the two true means lies, for samples of unequal variance.

    mean difference ± t · sqrt(s1²/n1 + s2²/n2), with the degrees of freedom of Welch and Satterthwaite: B. L. Welch,
    "The generalization of Student's problem when several different population variances are involved", Biometrika 34
    (1947). Both samples need two values or more. With many groups some of the intervals miss by chance.
    """
    assert one.std is not None and other.std is not None
    parts = [(s.std or 0.0) ** 2 / s.n for s in (one, other)]
    difference, variance = one.mean - other.mean, sum(parts)
    if variance == 0:
        return difference, difference
    freedom = variance**2 / sum(part**2 / (s.n - 1) for part, s in zip(parts, (one, other), strict=True))
    reach = student_t(confidence, freedom) * math.sqrt(variance)
    return difference - reach, difference + reach


def student_t(confidence: float, freedom: float) -> float:
    """The t for which P(|T| < t) = `confidence`, T being Student's with `freedom` >= 1 degrees; good to 1e-6.

    With T = sqrt(freedom) tan(u), P(|T| < t) is the integral of cos(u)^(freedom - 1) from 0 to u, divided by that to
    pi/2 (Abramowitz and Stegun, 26.7.1 in that variable). Simpson's rule, bisected for u.
    """
    log_whole = math.log(math.pi) / 2 + math.lgamma(freedom / 2) - math.lgamma((freedom + 1) / 2) - math.log(2)
    whole = math.exp(log_whole)
    low, high = 0.0, min(math.pi / 2, 60 / math.sqrt(freedom))  # the bell is 1 / sqrt(freedom) wide
    for _ in range(60):
        middle = (low + high) / 2
        if _integral_of_cosine(freedom - 1, middle) < confidence * whole:
            low = middle
        else:
            high = middle
    return math.sqrt(freedom) * math.tan(low)


def _integral_of_cosine(power: float, end: float, pieces: int = 400) -> float:
    """Of cos(u)^power from 0 to `end`, by Simpson's rule."""
    width = end / pieces
    heights: list[float] = [math.cos(number * width) ** power for number in range(pieces + 1)]
    return width / 3 * (heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2]))


def _identity(run: RecordedRun, repeats: bool) -> Identity:
    """What a run shares with those that repeat it, or (`repeats`) its own seed and fold."""
    keys = (key for key in run.config if key not in UNINTERESTING and bool(REPEATS.fullmatch(key)) == repeats)
    return tuple(sorted((key, repr(run.config[key])) for key in keys))
