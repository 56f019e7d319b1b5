"""Plots of a classifier's results.

Figures are made without pyplot, which would keep them alive.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from utils.classification import expected_calibration_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from utils.classification import Bin, ClassScores

MOST_NUMBERS = 20
"""Up to this number of classes, each cell of a confusion matrix shows its count."""
LABELS = 40
"""Up to this number of classes, each class is named on an axis."""


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, Any]:
    """A figure of `width` x `height` inches, and an array (rows, columns) of its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Figure) -> bytes:
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a class may be called "US$ to A$"
    data = io.BytesIO()
    from utils import fonts

    fonts.save(figure, data, format="png")
    return data.getvalue()


def confusion(matrix: Tensor, classes: Sequence[str]) -> bytes:
    """Draws int64 (C, C) with true classes as rows; colors show the share of a row, numbers are counts."""
    count = len(classes)
    side = min(3 + 0.5 * count, 12)
    figure, axes = new_figure(side + 1.5, side)
    axis = axes[0, 0]
    shares = matrix / matrix.sum(1, keepdim=True).clamp(min=1)
    shown = axis.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(shown, ax=axis, label="share of the true class", shrink=0.8)
    axis.set(xlabel="predicted", ylabel="true", title="confusion matrix")
    if count <= LABELS:
        axis.set_xticks(range(count), list(classes), rotation=45, ha="right")
        axis.set_yticks(range(count), list(classes))
    for row, column in matrix.nonzero().tolist() if count <= MOST_NUMBERS else ():
        colour = "white" if shares[row, column] > 0.5 else "black"
        axis.text(column, row, _short(int(matrix[row, column])), ha="center", va="center", color=colour, fontsize=8)
    return png(figure)


def _short(count: int) -> str:
    """Fits into a cell: 99999, 123k, 12.3M."""
    return str(count) if count < 10**5 else f"{count / 1e3:.0f}k" if count < 10**6 else f"{count / 1e6:.3g}M"


def per_class(scores: Sequence[ClassScores], classes: Sequence[str], counted: str = "samples") -> bytes:
    """Draws bars for precision, recall and F1 of every class, with the lowest scores on top. `counted` names what the
    support is a number of."""
    order = sorted(range(len(scores)), key=lambda i: scores[i].f1, reverse=True)
    figure, axes = new_figure(8, min(1.5 + 0.45 * len(scores), 20))
    axis = axes[0, 0]
    for offset, name in ((0.27, "precision"), (0.0, "recall"), (-0.27, "f1")):
        axis.barh([i + offset for i in range(len(order))], [getattr(scores[i], name) for i in order], 0.26, label=name)
    axis.set_yticks(range(len(order)), [f"{classes[i]} ({scores[i].support:,})" for i in order])
    axis.set(xlim=(0, 1), title=f"scores of each class ({counted})")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return png(figure)


def reliability(bins: Sequence[Bin], of: str = "class", counted: str = "samples") -> bytes:
    """Draws the accuracy against the confidence of each bin, with the ideal diagonal, and how many predictions `of` a
    class or label are in each bin."""
    figure, axes = new_figure(6, 6.5, 2)
    above, below = axes[:, 0]
    edges = [i / len(bins) for i in range(len(bins))]
    style: dict[str, Any] = {"width": 1 / len(bins), "align": "edge", "edgecolor": "white"}
    filled = [(edge, b) for edge, b in zip(edges, bins, strict=True) if b.count]
    above.bar([edge for edge, _ in filled], [b.accuracy for _, b in filled], label="accuracy", **style)
    above.plot([b.confidence for _, b in filled], [b.accuracy for _, b in filled], "o", color="black", markersize=3)
    above.plot([0, 1], [0, 1], "--", color="grey", label="perfect")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy", title=f"ECE {expected_calibration_error(list(bins)):.4f}")
    above.legend(loc="upper left")
    below.bar(edges, [b.count for b in bins], color="grey", **style)
    below.set(xlim=(0, 1), xlabel=f"probability of the predicted {of}", ylabel="labels" if of == "label" else counted)
    return png(figure)


def images(groups: Sequence[tuple[str, Sequence[Tensor] | Tensor, Sequence[str]]], columns: int = 8) -> bytes:
    """Draws groups (title, images, captions), with a caption below each image, which is (C, H, W) or (H, W)."""
    rows = [-(-len(group) // columns) for _, group, _ in groups]
    height = 0.4 + 1.95 * sum(rows)
    figure, axes = new_figure(1.5 * columns, height, sum(rows), columns)
    figure.set_layout_engine(None)
    figure.subplots_adjust(left=0.02, right=0.98, top=1 - 0.4 / height, bottom=0.45 / height, hspace=0.5)
    for axis in axes.flat:
        axis.set_axis_off()
    row = 0
    for (title, group, captions), count in zip(groups, rows, strict=True):
        axes[row, 0].annotate(title, (0, 1.06), xycoords="axes fraction", fontweight="bold")
        for i, (image, caption) in enumerate(zip(group, captions, strict=True)):
            axis = axes[row + i // columns, i % columns]
            show(axis, image)
            axis.annotate(caption, (0.5, -0.04), xycoords="axes fraction", ha="center", va="top", fontsize=8)
        row += count
    return png(figure)


def worst(found: Mapping[str, Sequence[Any]], classes: Sequence[str]) -> dict[str, bytes]:
    """Draws `worst` from groups of samples (base.evaluation.worst.SamplePrediction) by title, whose inputs are images;
    {} if there are none."""
    groups = []
    for title, samples in found.items():
        shown = [sample for sample in samples if sample.input.dim() in (2, 3)]
        if shown and shown[0].masks:
            return {"worst": masks(title, shown, classes)}
        if shown:
            groups.append((title, [s.input for s in shown], [s.caption for s in shown]))
    return {"worst": images(groups)} if groups else {}


def masks(title: str, samples: Sequence[Any], classes: Sequence[str]) -> bytes:
    """Two samples a row: the input, the true mask and the predicted one, a colour a class; grey does not count."""
    from matplotlib import colormaps
    from matplotlib.patches import Patch

    palette = colormaps["tab10" if len(classes) <= 10 else "tab20"].with_extremes(bad="lightgrey")
    size = 10 if len(classes) <= 10 else 20
    rows = -(-len(samples) // 2)
    figure, axes = new_figure(10, 1 + 1.9 * rows, rows, 6)
    for axis in axes.flat:
        axis.set_axis_off()
    seen: set[int] = set()
    for number, sample in enumerate(samples):
        left, middle, right = axes[number // 2, 3 * (number % 2) : 3 * (number % 2) + 3]
        show(left, sample.input)
        for axis, mask in zip((middle, right), sample.masks, strict=True):
            seen |= set(mask.unique().tolist()) - {-1}
            coloured = mask.float().where(mask >= 0, float("nan")) % size
            axis.imshow(coloured.numpy(), cmap=palette, vmin=0, vmax=size - 1, interpolation="nearest")
        left.set_title(f"sample {sample.index}", fontsize=8)
        middle.set_title(sample.caption, fontsize=8)
    named = [Patch(color=palette(number % size), label=classes[number]) for number in sorted(seen)[:LABELS]]
    figure.legend(handles=named, loc="outside lower center", ncols=6, fontsize=8)
    figure.suptitle(title)
    return png(figure)


def filters(image: Tensor, weight: Tensor, maps: Tensor, title: str) -> bytes:
    """Draws a convolution's input (C, H, W), its filters (N, C, h, w), and the output of each filter, (N, H, W)."""
    figure, axes = new_figure(13, 4.6, 1, 3)
    for axis, shown, words in zip(
        axes[0],
        (image, mosaic(weight), mosaic(maps[:, None])),
        ("input", f"weight: {len(weight)} filters of {'x'.join(map(str, weight.shape[1:]))}", "output"),
        strict=True,
    ):
        show(axis, shown)
        axis.set_title(words)
        axis.set_axis_off()
    figure.suptitle(title)
    return png(figure)


def mosaic(tiles: Tensor) -> Tensor:
    """Arranges (N, C, H, W) in one nearly square image with lines between the tiles. Each tile is scaled to its own
    range of values."""
    stack = tiles.detach().float().cpu()
    stack = stack if stack.shape[1] in (1, 3) else stack.mean(1, keepdim=True)
    low, high = stack.amin((1, 2, 3), keepdim=True), stack.amax((1, 2, 3), keepdim=True)
    stack = torch.nn.functional.pad((stack - low) / (high - low).clamp(min=1e-12), (0, 1, 0, 1), value=1.0)
    columns = math.ceil(math.sqrt(len(stack)))
    missing = -len(stack) % columns
    stack = torch.cat([stack, stack.new_ones(missing, *stack.shape[1:])])
    rows = [torch.cat(list(stack[i : i + columns]), dim=2) for i in range(0, len(stack), columns)]
    return torch.cat(rows, dim=1)


def show(axis: Axes, image: Tensor) -> None:
    """Shows an image (C, H, W) or (H, W) of any type, scaled to its range. Many channels are averaged."""
    pixels = image.detach().float().cpu()
    pixels = pixels[None] if pixels.dim() == 2 else pixels
    pixels = pixels if len(pixels) in (1, 3) else pixels.mean(0, keepdim=True)
    pixels = torch.nan_to_num(pixels)
    pixels = (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp(min=1e-12)
    axis.imshow(pixels.permute(1, 2, 0).squeeze(2).numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
