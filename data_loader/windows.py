"""Windows over a time series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from base.errors import DataError
from base.registry import DATASETS
from data_loader.array_files import CsvFile, read_npy, read_npz
from data_loader.held import Held


@DATASETS.register
class SlidingWindows(Held):
    """Every stretch of `window` steps of a series, and the `horizon` steps that follow it, to be predicted.

    A sample of a series (T,) is (float32 (window,), float32 (horizon,)), of (T, channels) it is
    (float32 (window, channels), float32 (horizon, channels)). The last shares `valid` and `test` of the steps are the
    parts of these names; no window reaches from one part into another. Windows overlap each other in memory: all of
    them take what the series takes.

    `path` is a .npy or .npz file of numbers or a .csv file with named columns. `columns` picks channels: columns of a
    .csv (default: all), of a .npy by number, arrays of a .npz; a single one, not in a list, gives a series (T,).

    DataError if the file is missing or broken, or a part is shorter than one window and its horizon.
    """

    overlapping: ClassVar = True

    def __init__(
        self,
        path: str | Path,
        window: int,
        horizon: int = 1,
        part: Literal["train", "valid", "test"] = "train",
        valid: float = 0.15,
        test: float = 0.15,
        columns: str | int | Sequence[str | int] | None = None,
    ) -> None:
        super().__init__(*windows_of(read_series(Path(path), columns), path, window, horizon, part, valid, test))


def windows_of(
    series: NDArray[Any], source: object, window: int, horizon: int, part: str, valid: float, test: float
) -> tuple[Tensor, Tensor]:
    """Inputs and targets of one part of a series (T,) or (T, channels), as SlidingWindows gives them."""
    if window < 1 or horizon < 1:
        raise ValueError(f"SlidingWindows: window and horizon must be 1 or more, found {window} and {horizon}")
    if not (valid >= 0 and test >= 0 and valid + test < 1):
        raise ValueError(f"SlidingWindows: valid and test must leave something to train, found {valid} and {test}")
    first_test = len(series) - round(test * len(series))
    first_valid = first_test - round(valid * len(series))
    begin, end = {
        "train": (0, first_valid),
        "valid": (first_valid, first_test),
        "test": (first_test, len(series)),
    }[part]
    if end - begin < window + horizon:
        needed = f"a window of {window} and a horizon of {horizon} need {window + horizon}"
        raise DataError(f"{source}: the part {part!r} has {end - begin} of {len(series)} steps; {needed}")
    steps = torch.from_numpy(np.ascontiguousarray(series[begin:end], dtype=np.float32))
    if not steps.isfinite().all():
        raise DataError(f"{source}: not every number is finite")
    both = steps.unfold(0, window + horizon, 1).movedim(-1, 1)
    return both[:, :window], both[:, window:]


def read_series(path: Path, columns: str | int | Sequence[str | int] | None) -> NDArray[Any]:
    """(T,) or (T, channels)"""
    wanted = columns if columns is None or isinstance(columns, list | tuple) else [columns]
    if path.suffix == ".csv":
        file = CsvFile(path)
        series = file.numbers([str(name) for name in wanted or file.columns], "name the columns to read: columns")
    elif path.suffix == ".npz":
        arrays = read_npz(path, *map(str, wanted or ()))
        try:
            series = next(iter(arrays.values())) if len(arrays) == 1 else np.column_stack(list(arrays.values()))
        except ValueError as error:
            raise DataError(f"{path}: the arrays {', '.join(arrays)} do not stand side by side: {error}") from error
    elif path.suffix == ".npy":
        series = read_npy(path)
        if wanted is not None:
            series = _picked(path, series, wanted)
    else:
        raise DataError(f"{path}: expected a .csv, .npy or .npz file")
    if series.ndim not in (1, 2) or not series.size:
        raise DataError(f"{path}: expected a series (steps,) or (steps, channels), found an array {series.shape}")
    return series[:, 0] if wanted is not columns and series.ndim == 2 and series.shape[1] == 1 else series


def _picked(path: Path, series: NDArray[Any], wanted: Sequence[Any]) -> NDArray[Any]:
    channels = series.shape[1] if series.ndim == 2 else 0
    for number in wanted:
        if not isinstance(number, int) or not 0 <= number < channels:
            raise DataError(f"{path}: columns: expected numbers below {channels}, its channels, found {number!r}")
    return series[:, list(wanted)]
