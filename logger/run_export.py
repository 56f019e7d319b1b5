"""Runs for other programs: JSON and CSV with every digit."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from logger.cells import for_spreadsheet, printable, written
from logger.comparison import Comparison
from logger.recorded_run import RecordedRun
from logger.seed_groups import Group, spread


def to_json(comparison: Comparison, groups: Sequence[Group], verdicts: Sequence[str]) -> str:
    """`{"runs": [...], "groups": [...], "verdicts": [...]}`; the config of a run is the keys that differ."""
    document = {
        "metric": comparison.main,
        "runs": [_run(comparison, run) for run in comparison.runs],
        "groups": [_group(comparison, group) for group in groups],
        "verdicts": list(verdicts),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def to_csv(comparison: Comparison) -> str:
    """A line a run; keys of configs by their full names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    which = ("best", "epoch", "last")
    names = [f"{metric}.{part}" for metric in comparison.metrics for part in which]
    own = ["run", "state", "epochs", "planned", "seconds"]
    headings = [*own, *comparison.differing, *names, "tags", "note", "problems"]
    writer.writerow(map(_cell, headings))
    for run in comparison.runs:
        scores = [score for metric in comparison.metrics for score in _score(comparison, run, metric).values()]
        keys = [written(run.config[key]) if key in run.config else "" for key in comparison.differing]
        facts = [run.label, run.state, run.epochs, run.planned, run.seconds]
        words = [" ".join(run.tags), run.note, "; ".join(run.problems)]
        writer.writerow([_cell(value) for value in (*facts, *keys, *scores, *words)])
    return text.getvalue()


def _run(comparison: Comparison, run: RecordedRun) -> dict[str, Any]:
    return {
        "run": run.label,
        "path": str(run.path),
        "state": run.state,
        "epochs": run.epochs,
        "planned": run.planned,
        "seconds": run.seconds,
        "metrics": {metric: _score(comparison, run, metric) for metric in comparison.metrics if metric in run.curves},
        "config": {key: run.config[key] for key in comparison.differing if key in run.config},
        "tags": run.tags,
        "note": run.note,
        "problems": run.problems,
    }


def _group(comparison: Comparison, group: Group) -> dict[str, Any]:
    spreads = {metric: spread(comparison, group, metric) for metric in comparison.metrics}
    return {
        "group": group.label,
        "runs": [run.label for run in group.runs],
        "unfinished": group.unfinished,
        "metrics": {metric: asdict(found) for metric, found in spreads.items() if found},
    }


def _score(comparison: Comparison, run: RecordedRun, metric: str) -> dict[str, Any]:
    score = comparison.score(run, metric)
    return asdict(score) if score else {"best": None, "epoch": None, "last": None}


def _cell(value: Any) -> Any:
    """Numbers as they are, so that -0.5 stays one; texts that cannot become formulas."""
    number = isinstance(value, int | float | None)
    return value if number else for_spreadsheet(printable(value)) if not _is_number(value) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
