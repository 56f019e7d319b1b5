"""Tables and arrays from files: .csv with named columns, .npz with named arrays."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from base.errors import DataError, did_you_mean, listing
from base.registry import DATASETS
from data_loader.array_files import CsvFile, read_npz, to_tensor
from data_loader.held import Held


@DATASETS.register
class Table(Held):
    """The rows of a .csv file whose first line names the columns.

    A sample is (float32 (features,), target): for `classification` a class number, else float32 (targets,), one value
    for each column named. `features` are all other columns unless they are named. A column of classes holds whole
    numbers from 0 up, taken as they are, or names, numbered in the order of `classes`, else of the alphabet.

    `split` is a column that says to which part a row belongs, and `part` which of them this data set is.

    DataError names line and column of a cell that is missing, no number, or not finite.
    """

    def __init__(
        self,
        path: str | Path,
        target: str | Sequence[str],
        features: Sequence[str] | None = None,
        classification: bool = False,
        split: str | None = None,
        part: str | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        if (split is None) != (part is None):
            raise ValueError("Table: split, a column, and part, a value in it, go together")
        file = CsvFile(path)
        targets = [target] if isinstance(target, str) else list(target)
        if features is None:
            taken = {*targets, split}
            features = [name for name in file.columns if name not in taken]
        if not features:
            raise DataError(f"{file.path}: no column is left for features")
        chosen = _rows_of(file, split, part)
        hint = "name the columns to learn from: features"
        inputs = torch.from_numpy(file.numbers(features, hint).astype(np.float32))[chosen]
        if not classification:
            super().__init__(inputs, torch.from_numpy(file.numbers(targets).astype(np.float32))[chosen])
            return
        if len(targets) != 1:
            raise ValueError(f"Table: target: classification has one column of classes, found {len(targets)}")
        numbers, names = _classes(file, targets[0], classes)
        if names:
            self.classes = names
        super().__init__(inputs, numbers[chosen])


def _rows_of(file: CsvFile, split: str | None, part: str | None) -> slice | Tensor:
    """All rows, or the numbers of those of a part, int64."""
    if split is None or part is None:
        return slice(None)
    parts = file.texts(split)
    rows = [number for number, found in enumerate(parts) if found == part]
    if not rows:
        there = sorted(set(parts))
        hint = did_you_mean(part, there) or f"there are {listing(there, 'and')}"
        raise DataError(f"{file.path}: no row has {part!r} in column {split!r}; {hint}")
    return torch.tensor(rows)


def _classes(file: CsvFile, column: str, classes: Sequence[str] | None) -> tuple[Tensor, tuple[str, ...]]:
    """The class numbers of all rows, int64, and the names of the classes if they have any."""
    texts = file.texts(column)
    if classes is None and all(text.isdecimal() for text in texts):
        return torch.tensor([int(text) for text in texts]), ()
    names = tuple(classes or sorted(set(texts)))
    number_of = {name: number for number, name in enumerate(names)}
    if unknown := [text for text in texts if text not in number_of]:
        hint = did_you_mean(unknown[0], names) or f"classes has {listing(names, 'and')}"
        raise DataError(f"{file.path}: column {column!r}: there is no class {unknown[0]!r}; {hint}")
    return torch.tensor([number_of[text] for text in texts]), names


@DATASETS.register
class Arrays(Held):
    """Two arrays of a .npz file, as `numpy.savez(path, x=..., y=...)` writes it, aligned on dimension 0.

    A sample is a row of each, in the type that it has in the file. DataError if the file or an array in it is missing,
    holds anything but numbers, or if their lengths differ.
    """

    def __init__(self, path: str | Path, input: str = "x", target: str = "y") -> None:
        arrays = read_npz(Path(path), input, target)
        shapes = {name: array.shape for name, array in arrays.items()}
        if not all(shapes.values()) or shapes[input][0] != shapes[target][0]:
            found = f"{input} {shapes[input]} and {target} {shapes[target]}"
            raise DataError(f"{path}: expected arrays of one length, found {found}")
        super().__init__(to_tensor(arrays[input]), to_tensor(arrays[target]))
