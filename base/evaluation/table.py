"""predictions.csv: a line a sample, written batch by batch."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from typing import IO, Any

from torch import Tensor

from base.evaluation.results import ClassResults, ReadBatch

COLUMNS = 100
"""With more classes, there is no column for each."""


class Table:
    """Writes to `file`, in the order of the dataset. The first batch gives the columns."""

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._rows = 0

    def add(self, head: Sequence[str], rows: Iterator[Sequence[Any]]) -> None:
        if not self._rows:
            self._writer.writerow(["index", *head])
        for row in rows:
            self._writer.writerow([self._rows, *row])
            self._rows += 1

    def drop(self) -> None:
        """Forgets what was written."""
        self.file.seek(0)
        self.file.truncate()


def add_numbers(table: Table, output: Tensor, target: Tensor) -> None:
    """Outputs and targets, (B,) or (B, K) each, that are those of no classification."""
    columns = {"target": target.reshape(len(target), -1), "output": output.reshape(len(output), -1)}
    numbers = {name: range(part.shape[1]) if part.shape[1] > 1 else [""] for name, part in columns.items()}
    head = [f"{name}_{i}".rstrip("_") for name, several in numbers.items() for i in several]
    pairs = zip(*(part.tolist() for part in columns.values()), strict=True)
    table.add(head, ([*target, *output] for target, output in pairs))


def add_classes(table: Table, results: ClassResults, batch: ReadBatch, classes: Sequence[str], named: bool) -> None:
    """A sample's target and prediction with their probabilities; of several positions a sample how well they fit.
    `named`: the classes have names, which stand beside their numbers."""
    if results.dense:
        columns = zip(*results.of_samples(batch), strict=True)
        table.add(["positions", "accuracy", "iou"], ([count, *map(_number, rest)] for count, *rest in columns))
    elif results.task == "multilabel":
        head = [f"{what}({name})" for what in ("target", "p") for name in classes]
        assert batch.probabilities is not None
        rows = zip(_targets(batch), batch.probabilities.tolist(), strict=True)
        table.add(head, ([*targets, *map(_number, chances)] for targets, chances in rows))
    else:
        _add_one_class(table, batch, classes, named)


def _add_one_class(table: Table, batch: ReadBatch, classes: Sequence[str], named: bool) -> None:
    assert batch.probabilities is not None
    each = classes if len(classes) <= COLUMNS else []
    names = ["target_name", "prediction_name"] if named else []
    head = ["target", "prediction", *names, "probability", *(f"p({name})" for name in each)]

    def row(kept: bool, target: int, prediction: int, top: float, chances: list[float]) -> list[Any]:
        called = [classes[target] if kept else "", classes[prediction]] if named else []
        return [target if kept else "", prediction, *called, _number(top), *map(_number, chances[: len(each)])]

    columns = [x[:, 0] for x in (batch.kept, batch.true, batch.predicted, batch.confidence)]
    table.add(head, (row(*one) for one in zip(*(x.tolist() for x in (*columns, batch.probabilities)), strict=True)))


def _targets(batch: ReadBatch) -> list[list[Any]]:
    """0 or 1 for each label; nothing where it does not count."""
    kept = batch.kept[:, :, 0].tolist()
    return [
        [target if counts else "" for target, counts in zip(*row, strict=True)]
        for row in zip(batch.true[:, :, 0].tolist(), kept, strict=True)
    ]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6f}"
