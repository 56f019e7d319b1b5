"""Tables and arrays from .csv, .npy and .npz files; errors name file, line and column, and nothing is unpickled."""

from __future__ import annotations

import csv
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base.errors import DataError, did_you_mean, listing
from base.registry import DATASETS
from data_loader.samples import InMemoryDataset

_NUMBERS = "biuf"  # NumPy's kinds: bool, int, unsigned int, float


class CsvFile:
    """A table of numbers and texts, separated by commas, whose first line names the columns.

    DataError if there is no such file, no row in it, or its first line is not that.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _reading(self.path), self.path.open(encoding="utf-8-sig", newline="") as file:
            self.columns = [name.strip() for name in next(csv.reader(file), [])]
        if len(self.columns) == 1 and (found := [mark for mark in ";\t|" if mark in self.columns[0]]):
            raise DataError(f"{self.path}:1: expected columns separated by ',', found {found[0]!r}")
        if not any(self.columns):
            raise DataError(f"{self.path}:1: expected the names of the columns, found an empty line")
        for name in self.columns:
            if self.columns.count(name) > 1:
                raise DataError(f"{self.path}:1: expected a name of its own for each column, found {name!r} twice")
        if next(self._rows(), None) is None:
            raise DataError(f"{self.path} has no rows")

    def numbers(self, names: Sequence[str], hint: str = "") -> NDArray[np.float64]:
        """(rows, names): finite numbers. DataError names the first cell that is none, and adds `hint`."""
        indices = [self.index(name) for name in names]
        try:
            values = np.loadtxt(**self._options, usecols=indices, dtype=np.float64)
        except ValueError as error:
            raise self._fault(indices, hint) or DataError(f"{self.path}: {error}") from None
        if not np.isfinite(values).all():
            raise self._fault(indices, hint) or DataError(f"{self.path}: not every number is finite")
        return values

    def texts(self, name: str) -> list[str]:
        """The cells of one column, without the spaces around them. DataError names an empty one."""
        index, texts = self.index(name), []
        for line, row in self._rows():
            if len(row) <= index or not row[index].strip():
                raise DataError(f"{self.path}:{line}: column {name!r} is empty")
            texts.append(row[index].strip())
        return texts

    def index(self, name: str) -> int:
        if name not in self.columns:
            hint = did_you_mean(name, self.columns) or f"it has {listing(self.columns, 'and')}"
            raise DataError(f"{self.path}:1: there is no column {name!r}; {hint}")
        return self.columns.index(name)

    @property
    def _options(self) -> dict[str, Any]:
        return {
            "fname": self.path,
            "delimiter": ",",
            "skiprows": 1,
            "quotechar": '"',
            "ndmin": 2,
            "comments": None,
            "encoding": "utf-8-sig",
        }

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Each row with the number of its line."""
        with _reading(self.path), self.path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            next(reader)
            yield from ((reader.line_num, row) for row in reader if row)

    def _fault(self, indices: Sequence[int], hint: str) -> DataError | None:
        """The first cell that is no finite number. NumPy reads fast, and does not know the line."""
        for line, row in self._rows():
            for index in indices:
                place = f"{self.path}:{line}: column {self.columns[index]!r}"
                if index >= len(row):
                    return DataError(f"{place} is missing: the line has {len(row)} of {len(self.columns)} cells")
                if not _is_number(row[index]):
                    found = repr(row[index].strip()) if row[index].strip() else "an empty cell"
                    return DataError(f"{place}: expected a finite number, found {found}{hint and f'; {hint}'}")
        return None


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def read_npy(path: Path) -> NDArray[Any]:
    """The array of a .npy file: numbers of any type. DataError if it is none."""
    with _reading(path), path.open("rb") as file:
        return _checked(np.load(file, allow_pickle=False), str(path))


def read_npz(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz file by name, those asked for or all; numbers of any type."""
    with _reading(path), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: expected a .npz file of named arrays, found a single array")
        with archive:
            for name in names:
                if name not in archive.files:
                    hint = did_you_mean(name, archive.files) or f"it has {listing(archive.files, 'and')}"
                    raise DataError(f"{path}: there is no array {name!r}; {hint}")
            return {name: _checked(archive[name], f"{path}: {name}") for name in names or archive.files}


def _checked(array: Any, place: str) -> NDArray[Any]:
    if array.dtype.kind not in _NUMBERS:
        raise DataError(f"{place}: expected numbers, found {array.dtype}")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def to_tensor(array: NDArray[Any]) -> Tensor:
    """In the array's own type, in memory that may be written to."""
    return torch.from_numpy(np.require(array, requirements=("C", "W")))


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What can go wrong with a file, as DataError."""
    if not path.is_file():
        hint = did_you_mean(path.name, [other.name for other in path.parent.glob("*")])
        raise DataError(f"{path}: there is no such file{hint and f'; {hint}'}")
    try:
        yield
    except DataError:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    except ValueError as error:  # np.load: objects, which would have to be unpickled, or no array at all
        raise DataError(f"{path}: expected arrays of numbers: {error}") from error


@DATASETS.register
class Table(InMemoryDataset):
    """The rows of a .csv file whose first line names the columns.

    A sample is (float32 (features,), target): for `classification` a class number, else float32 (targets,), one value
    for each column named. `features` are all other columns unless they are named. A column of classes holds whole
    numbers from 0 up, taken as they are, or names, numbered in the order of `classes`, else of the alphabet.

    `split` is a column that says to which part a row belongs, and `part` which of them this dataset is.

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
            self.number_classes = self._number_classes
        super().__init__(inputs, numbers[chosen])

    def _number_classes(self, names: Sequence[str]) -> None:
        numbers = torch.tensor([names.index(name) for name in self.classes])
        self._targets, self.classes = numbers[self._targets], tuple(names)


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
class Arrays(InMemoryDataset):
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
