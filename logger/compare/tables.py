"""Compares the runs in folders: the tables as text, Markdown, JSON and CSV."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from base.errors import did_you_mean, listing
from base.runs.run_dir import runs_below
from logger.compare import diff
from logger.compare.comparison import ABSENT, Comparison, FilterError, Score, chosen, is_filter, ordered
from logger.compare.runs import RecordedRun, read_run
from logger.compare.statistics import RunGroup, Spread, groups_of, spread, verdicts
from logger.compare.text_table import Column, TextTable, for_markdown, for_spreadsheet, printable, written
from utils.formatting import format_duration, format_number


def runs_table(comparison: Comparison) -> TextTable:
    runs = comparison.runs
    times = [format_duration(run.seconds) if run.seconds else "" for run in runs]
    columns = [
        Column("run", [run.label for run in runs]),
        Column("state", [run.state for run in runs]),
        Column("epochs", [f"{run.epochs}/{run.planned or '?'}" for run in runs], True, [run.epochs for run in runs]),
        Column("time", times, True, [run.seconds for run in runs]),
        *(_key(comparison, key) for key in comparison.differing),
        *(column for metric in comparison.metrics for column in _metric(comparison, metric)),
        Column("tags", [" ".join(run.tags) for run in runs]),
        Column("note", [run.note for run in runs]),
    ]
    return TextTable(column for column in columns if column.heading == "run" or any(column.cells))


def groups_table(comparison: Comparison, groups: Sequence[RunGroup]) -> TextTable:
    """Mean ± standard deviation of the best values, over the runs of each group that reached their end."""
    metrics = [
        Column(metric, [_spread(spread(comparison, group, metric), group) for group in groups], True)
        for metric in comparison.metrics
    ]
    columns = [
        Column("group", [group.label for group in groups]),
        Column("n", [str(len(group.runs)) for group in groups], True),
        Column("unfinished", [str(group.unfinished or "") for group in groups], True),
        *metrics,
    ]
    return TextTable(column for column in columns if any(column.cells))


def _spread(found: Spread | None, group: RunGroup) -> str:
    """With n if some runs of the group lack the metric."""
    return "" if found is None else f"{found}" + f" (n={found.n})" * (found.n != len(group.runs))


def problems(comparison: Comparison) -> list[str]:
    """What could not be read, a line each."""
    return [f"{run.label}: {problem}" for run in comparison.runs for problem in run.problems]


def _key(comparison: Comparison, key: str) -> Column:
    """Empty for a run whose config cannot be read, which is not the same as an absent key."""
    values = [run.config.get(key, ABSENT) if run.config else None for run in comparison.runs]
    texts = [written(value) if run.config else "" for run, value in zip(comparison.runs, values, strict=True)]
    numbers = all(isinstance(value, int | float | None) and not isinstance(value, bool) for value in values)
    return Column(comparison.short(key), texts, numbers, values if numbers else texts, about=key)


def _metric(comparison: Comparison, metric: str) -> list[Column]:
    """The best value with its epoch, and the last; a single column if there is no epoch, as for tests."""
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
    return format_number(math.nan if value is None else value)


def to_json(comparison: Comparison, groups: Sequence[RunGroup], verdicts: Sequence[str]) -> str:
    """`{"runs": [...], "groups": [...], "verdicts": [...]}`; `config` holds the keys that differ."""
    document = {
        "metric": comparison.main,
        "runs": [_run(comparison, run) for run in comparison.runs],
        "groups": [_group(comparison, group) for group in groups],
        "verdicts": list(verdicts),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def to_csv(comparison: Comparison) -> str:
    """One line a run, with what the JSON says of it: `val_loss.best`, keys of the config by their full names."""
    rows = [{_cell(key): _cell(value) for key, value in _flat(_run(comparison, run))} for run in comparison.runs]
    text = io.StringIO()
    writer = csv.DictWriter(text, dict.fromkeys(key for row in rows for key in row), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _run(comparison: Comparison, run: RecordedRun) -> dict[str, Any]:
    scores = {metric: comparison.score(run, metric) for metric in comparison.metrics}
    return {
        "run": run.label,
        "path": str(run.path),
        "state": run.state,
        "epochs": run.epochs,
        "planned": run.planned,
        "seconds": run.seconds,
        "config": {key: run.config[key] for key in comparison.differing if key in run.config},
        "metrics": {metric: asdict(score) for metric, score in scores.items() if score},
        "tags": run.tags,
        "note": run.note,
        "problems": run.problems,
    }


def _flat(run: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in run.items():
        if name == "config":
            yield from ((key, written(setting)) for key, setting in value.items())
        elif name == "metrics":
            yield from ((f"{metric}.{part}", x) for metric, score in value.items() for part, x in score.items())
        else:
            yield name, "; ".join(value) if name == "problems" else " ".join(value) if name == "tags" else value


def _group(comparison: Comparison, group: RunGroup) -> dict[str, Any]:
    spreads = {metric: spread(comparison, group, metric) for metric in comparison.metrics}
    return {
        "group": group.label,
        "runs": [run.label for run in group.runs],
        "unfinished": group.unfinished,
        "metrics": {metric: asdict(found) for metric, found in spreads.items() if found},
    }


def _cell(value: Any) -> Any:
    """Numbers stay numbers, so that -0.5 is one; texts cannot become formulas."""
    with contextlib.suppress(ValueError, TypeError):
        float(value)
        return value
    return value if value is None else for_spreadsheet(printable(value))


def sorted_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Splits words into folders and filters. FilterError for a word that is neither."""
    folders = [Path(word) for word in words if Path(word).is_dir()]
    others = [word for word in words if not Path(word).is_dir()]
    for word in others:
        if not is_filter(word):
            hint = "write filters with > or < in quotes: 'val_accuracy>0.9'"
            raise FilterError(f"{word}: no such folder, and no filter; {hint}")
    return folders or [Path("saved")], others


def read_runs(folders: Iterable[Path]) -> Comparison:
    """All runs in these folders, each once."""
    paths = dict.fromkeys(folder.path for root in folders for folder in runs_below(root))
    return Comparison(map(read_run, paths))


def select(
    comparison: Comparison, filters: Sequence[str], sort: str | None = None, reverse: bool = False
) -> Comparison:
    """The runs that pass all filters, sorted. FilterError for a name that no run has."""
    runs = chosen(comparison, filters)
    if sort is not None:
        runs = ordered(runs, comparison.field(sort))
    return comparison.of(reversed(runs) if reverse else runs)


def overview(comparison: Comparison, form: str = "text", width: int | None = None) -> str:
    """The table of runs, groups that differ only in their seeds with verdicts, and what could not be read."""
    groups = groups_of(comparison)
    sentences = verdicts(comparison, groups)
    if form == "json":
        return to_json(comparison, groups, sentences)
    if form == "csv":
        return to_csv(comparison).rstrip("\n")
    if not comparison.runs:
        return "no runs: there are none in these folders, or none passes the filters"
    tables = [runs_table(comparison), *([groups_table(comparison, groups)] if groups else [])]
    words = ["\n".join(map(printable, lines)) for lines in (sentences, problems(comparison)) if lines]
    if form == "markdown":
        return "\n\n".join([*(table.markdown() for table in tables), *map(for_markdown, words)])
    return "\n\n".join([*(table.text(width) for table in tables), *words])


def difference(comparison: Comparison, names: Sequence[str], form: str = "text") -> str:
    """The difference of two runs, each named as `run_named` takes it."""
    found = diff.difference(comparison, *(run_named(comparison, name) for name in names))
    return diff.to_json(found) if form == "json" else diff.to_text(found)


def run_named(comparison: Comparison, name: str) -> RecordedRun:
    """Finds a run by its folder, its label, or a part of the label that no other run has."""
    if (Path(name) / "config.yaml").is_file():
        return next((run for run in comparison.runs if run.path == Path(name)), None) or read_run(Path(name))
    whole = [run for run in comparison.runs if run.label == name]
    fitting = whole or [run for run in comparison.runs if name in run.label]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise FilterError(f"{name} may be {listing(str(run.path) for run in fitting)}: write more of it, or the folder")
    hint = did_you_mean(name, [run.label for run in comparison.runs]) or "a table without --diff names them"
    raise FilterError(f"{name}: there is no such run; {hint}")
