"""Draws a comparison: its curves as a picture, or all of it as one HTML page."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import asdict, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from base.errors import UserError, writing
from logger.compare.comparison import ABSENT, Comparison
from logger.compare.diff import commit_of, machine_of
from logger.compare.runs import RecordedRun
from logger.compare.statistics import groups_of, verdicts
from logger.compare.tables import groups_table, problems, runs_table
from logger.compare.text_table import TextTable, written
from utils import fonts

WIDTH, HEIGHT = 6.4, 4.0
"""Size of one chart in inches."""
ACROSS = 3
"""Charts in a row."""
MOST_NAMES = 24
"""At most so many runs are named below the charts."""


def draw_curves(comparison: Comparison, path: Path) -> None:
    """One chart for each quantity, one colour for each run; training is dashed. `path` ends in .png, .svg or .pdf."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise UserError(f"{path}: a picture's name ends in .png, .svg or .pdf")
    from matplotlib.figure import Figure

    charts = comparison.charts
    if not charts:
        raise UserError(f"{path}: there is no curve to draw: no run has finished an epoch")
    columns = min(len(charts), ACROSS)
    rows = -(-len(charts) // columns)
    names_below = 0.25 * len(comparison.runs[:MOST_NAMES])
    figure = Figure(figsize=(WIDTH * columns, HEIGHT * rows + names_below), layout="constrained")
    for place, (quantity, names) in enumerate(charts.items(), 1):
        axes = figure.add_subplot(rows, columns, place)
        _draw(axes, comparison, names)
        dashed = " (training dashed)" if len(names) > 1 and not all(name.startswith("val_") for name in names) else ""
        axes.set(title=f"{quantity}{dashed}", xlabel="epoch")
        axes.grid(alpha=0.3)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(*(part[:MOST_NAMES] for part in handles), loc="outside lower left", frameon=False)
    with writing(path):
        fonts.save(figure, path, dpi=110)


def _draw(axes: Any, comparison: Comparison, names: list[str]) -> None:
    from matplotlib import colormaps

    palette = colormaps["tab10" if len(comparison.runs) <= 10 else "turbo"]
    for number, run in enumerate(comparison.runs):
        colour = palette(number if len(comparison.runs) <= 10 else number / len(comparison.runs))
        axes.plot([], [], color=colour, label=comparison.described(run).replace("$", r"\$"))
        for name in names:
            curve = run.curves.get(name, [])
            x = [run.places[row] for row, _ in curve]
            y = [float("nan") if value is None else value for _, value in curve]
            style: dict[str, Any] = {} if name.startswith("val_") else {"linestyle": "--", "linewidth": 1, "alpha": 0.7}
            axes.plot(x, y, color=colour, marker="." if len(x) == 1 else None, **style)


PARTS = Path(__file__).parent / "report"
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>Runs</title>
<style>{style}</style>
<main></main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</html>
"""


def write_report(comparison: Comparison, path: Path, title: str) -> None:
    """Writes the page to a file. WriteError if it cannot be written."""
    with writing(path):
        path.write_text(page(comparison, title), encoding="utf-8")


def page(comparison: Comparison, title: str) -> str:
    """The page as text. Its policy names the hash of the script, so that the browser runs no other."""
    style, script = ((PARTS / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return PAGE.format(
        style=style,
        script=script,
        data=embedded(_content(comparison, title)),
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}",
    )


def embedded(value: Any) -> str:
    """ASCII JSON that neither closes the script element nor opens a comment, whatever texts it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def _content(comparison: Comparison, title: str) -> dict[str, Any]:
    groups = groups_of(comparison)
    facts = [_facts(comparison, run) for run in comparison.runs]
    every = dict.fromkeys(key for found in facts for key in found)
    return {
        "title": title,
        "runs": [_run(comparison, *pair) for pair in zip(comparison.runs, facts, strict=True)],
        "table": _columns(runs_table(comparison)),
        "groups": _columns(groups_table(comparison, groups)) if groups else [],
        "verdicts": verdicts(comparison, groups),
        "problems": problems(comparison),
        "charts": comparison.charts,
        "facts": [key for key in every if len({found.get(key) for found in facts}) > 1],
    }


def _columns(table: TextTable) -> list[dict[str, Any]]:
    return [asdict(replace(column, order=column.order or column.cells)) for column in table.columns]


def _run(comparison: Comparison, run: RecordedRun, facts: dict[str, str]) -> dict[str, Any]:
    minutes = accumulate((row.get("seconds") or 0.0) / 60 for row in run.rows)
    return {
        "label": run.label,
        "described": comparison.described(run),
        "facts": facts,
        "x": {"epoch": run.places, "step": [row["step"] for row in run.rows], "minutes": list(minutes)},
        "curves": {
            name: run.curves[name] for names in comparison.charts.values() for name in names if name in run.curves
        },
        "confusion": {
            name: {"classes": found[0], "counts": found[1]} for name in run.tests if (found := run.confusion(name))
        },
    }


def _facts(comparison: Comparison, run: RecordedRun) -> dict[str, str]:
    """Why runs may differ: config, commit and environment."""
    config = {key: written(run.config.get(key, ABSENT)) for key in comparison.differing}
    machine = {f"environment: {key}": written(value) for key, value in machine_of(run.environment)}
    return config | {"commit": commit_of(run.environment.get("git"))[:10]} | machine


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
