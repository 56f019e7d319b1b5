"""The curves of runs as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from base.errors import UserError, writing
from logger.comparison import Comparison
from utils import fonts

WIDTH, HEIGHT = 6.4, 4.0
"""Inches of one chart."""
ACROSS = 3
"""Charts beside each other."""
MOST_NAMES = 24
"""Runs that are named below the charts."""


def draw_curves(comparison: Comparison, path: Path) -> None:
    """One chart for each quantity, one colour for each run: validation as a line, training dashed. `path` ends in
    .png, .svg or .pdf."""
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
