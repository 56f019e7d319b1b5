"""The differences between two runs: config, code, environment, and metrics at a common epoch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from base.errors import listing
from logger.compare.comparison import ABSENT, Comparison
from logger.compare.runs import RecordedRun
from logger.compare.text_table import Column, TextTable, printable, written
from utils.formatting import format_number

LONGEST_DIFF = 60
"""Lines shown of the difference between two uncommitted changes of a file."""
_FILE = re.compile(r"^diff --git a/.+ b/(.+)$", re.MULTILINE)
_HASH = re.compile(r"[0-9a-f]{7,64}")

Pairs = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class RunDifference:
    """Pairs are the values in run `a` and in run `b`."""

    a: RecordedRun
    b: RecordedRun
    config: Pairs
    environment: Pairs
    commits: tuple[str, str]
    """Empty if unknown."""
    changes: Pairs
    """The two diffs of each file whose uncommitted changes differ."""
    epoch: int | None
    """The last epoch that both runs have."""
    metrics: Pairs
    """The metrics at that epoch."""
    best: Pairs


def difference(comparison: Comparison, a: RecordedRun, b: RecordedRun) -> RunDifference:
    both = comparison.of([a, b])
    of_epochs = [
        {row["epoch"]: row for row in run.rows if row.get("phase") == "epoch" and "epoch" in row} for run in (a, b)
    ]
    epoch = max(set(of_epochs[0]) & set(of_epochs[1]), default=None)
    at_epoch = [{} if epoch is None else rows[epoch] for rows in of_epochs]
    scores = {metric: (both.score(a, metric), both.score(b, metric)) for metric in both.metrics}
    codes = [run.environment.get("git") for run in (a, b)]
    return RunDifference(
        a,
        b,
        config=_pairs(a.config, b.config, both.differing),
        environment=_differing(*(dict(machine_of(run.environment)) for run in (a, b))),
        commits=(commit_of(codes[0]), commit_of(codes[1])),
        changes=_differing(*(_changes(code) for code in codes)),
        epoch=epoch,
        metrics={
            m: (at_epoch[0].get(m), at_epoch[1].get(m)) for m in both.metrics if m in {**at_epoch[0], **at_epoch[1]}
        },
        best={metric: (one and one.best, other and other.best) for metric, (one, other) in scores.items()},
    )


def to_json(found: RunDifference) -> str:
    names = ("config", "environment", "commits", "epoch", "metrics", "best")
    document = {"runs": [found.a.label, found.b.label], "changed_files": list(found.changes)}
    return json.dumps(document | {name: getattr(found, name) for name in names}, indent=2, allow_nan=False)


def to_text(found: RunDifference) -> str:
    """The text for a terminal."""
    runs = {"A": found.a, "B": found.b}
    heads = [f"{name}  {run.label}  {run.state}, {run.epochs} epochs  {run.note}" for name, run in runs.items()]
    parts = [
        "\n".join(printable(head).rstrip() for head in heads),
        _section("config", found.config),
        "\n".join(_code(found)),
        _section("environment", found.environment),
        _metrics(found),
    ]
    return "\n\n".join(parts)


def _section(title: str, pairs: Pairs) -> str:
    if not pairs:
        return f"{title}: the same"
    sides = [Column(name, [written(pair[i]) for pair in pairs.values()]) for i, name in enumerate("AB")]
    return f"{title}\n{_indented(TextTable([Column('', list(pairs)), *sides]).text())}"


def _code(found: RunDifference) -> Iterator[str]:
    a, b = found.commits
    if not (a and b):
        unknown = listing([name for name, commit in (("A", a), ("B", b)) if not commit], "and")
        yield f"code: not known: environment.json names no commit of {unknown}"
    elif a == b:
        yield f"code: commit {a[:10]} in both" + (
            "" if found.changes else ", with the same uncommitted changes or none"
        )
    else:
        yield f"code: git diff {a[:10]} {b[:10]}"
    for name, (one, other) in found.changes.items():
        yield printable(f"  uncommitted in {name}")
        one, other = ("" if side == ABSENT else side for side in (one, other))
        lines = list(unified_diff(one.splitlines(), other.splitlines(), "A", "B", n=0, lineterm=""))[2:]
        yield from (printable(f"    {line}") for line in lines[:LONGEST_DIFF])
        if len(lines) > LONGEST_DIFF:
            yield f"    ... {len(lines) - LONGEST_DIFF} more lines"


def _metrics(found: RunDifference) -> str:
    if not found.best:
        return "metrics: none"
    columns = [Column("", list(found.best))]
    for start, values in (("", found.metrics), ("best ", found.best)):
        pairs = [values.get(name, (None, None)) for name in found.best]
        columns += [Column(start + side, [_number(pair[i]) for pair in pairs], True) for i, side in enumerate("AB")]
        columns.append(Column("B - A", [_minus(*pair) for pair in pairs], True))
    at = f"at epoch {found.epoch}, the last that both have, and best" if found.epoch else "no epoch in common"
    return f"metrics {at}\n{_indented(TextTable(columns).text())}"


def _minus(a: float | None, b: float | None) -> str:
    """With as many decimals as the two are shown with."""
    if a is None or b is None:
        return ""
    return f"{b - a:+.3e}" if "e" in format_number(a) + format_number(b) else f"{b - a:+.4f}"


def _number(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else format_number(value)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def _pairs(a: Mapping[str, Any], b: Mapping[str, Any], keys: Iterable[str]) -> Pairs:
    return {key: (a.get(key, ABSENT), b.get(key, ABSENT)) for key in keys}


def _differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> Pairs:
    return {k: pair for k, pair in _pairs(a, b, dict.fromkeys([*a, *b])).items() if pair[0] != pair[1]}


def machine_of(environment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Versions and hardware; the code and the command are covered by git and the config."""
    for key, value in environment.items():
        if key == "packages" and isinstance(value, dict):
            yield from value.items()
        elif not isinstance(value, dict | list) and key != "command":
            yield key, value


def commit_of(code: Any) -> str:
    commit = code.get("commit") if isinstance(code, dict) else None
    return commit if isinstance(commit, str) and _HASH.fullmatch(commit) else ""


def _changes(code: Any) -> dict[str, str]:
    """The uncommitted diff of each file; for a file that git does not track, the words "not in git"."""
    if not isinstance(code, dict):
        return {}
    parts = _FILE.split(code["diff"] if isinstance(code.get("diff"), str) else "")
    untracked = code["untracked"] if isinstance(code.get("untracked"), list) else []
    return dict.fromkeys(map(str, untracked), "not in git") | dict(zip(parts[1::2], parts[2::2], strict=True))
