"""Windows over a series: in order of time, and none that two parts share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import ConfigError, DataError
from data_loader.sequences import SlidingWindows
from tests.data_loader.toy_sets import components, equal, make


@pytest.fixture
def series(tmp_path: Path) -> Path:
    np.save(tmp_path / "series.npy", np.arange(100))
    return tmp_path / "series.npy"


def test_windows_and_what_follows_them(series: Path) -> None:
    data = SlidingWindows(series, 4, horizon=2, valid=0.2, test=0.1)
    inputs, targets = data.as_tensors()
    assert inputs.shape == (65, 4) and targets.shape == (65, 2) and inputs.dtype == targets.dtype == torch.float32
    assert data[3][0].tolist() == [3, 4, 5, 6] and data[3][1].tolist() == [7, 8]
    assert inputs.untyped_storage().nbytes() == 70 * 4  # every window lies in the one series


def test_no_window_of_one_part_reaches_into_another(series: Path) -> None:
    seen = {}
    for part in ("train", "valid", "test"):
        inputs, targets = SlidingWindows(series, 3, 2, part, valid=0.2, test=0.1).as_tensors()
        seen[part] = torch.cat([inputs.reshape(-1), targets.reshape(-1)]).unique().tolist()
    assert seen == {part: list(range(*ends)) for part, ends in zip(seen, ((0, 70), (70, 90), (90, 100)), strict=True)}
    assert len(SlidingWindows(series, 3, valid=0, test=0)) == 97


def test_channels_are_picked_by_name_or_number(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("day,a,b\n" + "".join(f"mon,{i},{-i}\n" for i in range(20)))
    rows = np.stack([np.arange(20), -np.arange(20)], axis=1)
    np.save(tmp_path / "s.npy", rows)
    np.savez(tmp_path / "s.npz", a=rows[:, 0], b=rows[:, 1])
    np.savez(tmp_path / "one.npz", series=rows[:, 0])

    def first(name: str, columns: Any = None) -> torch.Tensor:
        return SlidingWindows(tmp_path / name, 3, columns=columns)[1][0]

    assert first("s.csv", ["b", "a"]).tolist() == [[-1, 1], [-2, 2], [-3, 3]]
    assert first("s.csv", "b").tolist() == [-1, -2, -3] and first("s.csv", ["b"]).shape == (3, 1)
    assert torch.equal(first("s.npy", [1, 0]), first("s.csv", ["b", "a"]))
    assert torch.equal(first("s.npz", ["b", "a"]), first("s.csv", ["b", "a"]))
    assert first("s.npy", 1).tolist() == [-1, -2, -3] and torch.equal(first("s.npy"), first("s.npz"))
    assert first("one.npz").tolist() == [1, 2, 3]
    with pytest.raises(DataError, match=r"s\.csv:2: column 'day': expected a finite number, found 'mon'; name the col"):
        first("s.csv")
    with pytest.raises(DataError, match=r"s\.npy: columns: expected numbers below 2, its channels, found 2"):
        first("s.npy", [2])


@pytest.mark.parametrize(
    ("args", "error", "what"),
    [
        ({"window": 0}, ValueError, "window and horizon must be 1 or more, found 0 and 1"),
        ({"window": 3, "valid": 0.5, "test": 0.5}, ValueError, "must leave something to train, found 0.5 and 0.5"),
        ({"window": 15, "part": "valid"}, DataError, "the part 'valid' has 15 of 100 steps; a window of 15 and a h"),
    ],
)
def test_lengths_that_do_not_fit_are_told(series: Path, args: dict[str, Any], error: Any, what: str) -> None:
    with pytest.raises(error, match=what):
        SlidingWindows(series, **args)


def test_a_series_is_no_text_no_picture_and_finite(tmp_path: Path) -> None:
    for name, array, what in (
        (
            "picture",
            np.zeros((2, 2, 2)),
            r"expected a series \(steps,\) or \(steps, channels\), found an array",
        ),
        ("infinite", np.array([0, 1, np.inf, 3] * 20), "not every number is finite"),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        with pytest.raises(DataError, match=what):
            SlidingWindows(tmp_path / f"{name}.npy", 1)
    (tmp_path / "series.txt").touch()
    with pytest.raises(DataError, match=r"expected a \.csv, \.npy or \.npz file"):
        SlidingWindows(tmp_path / "series.txt", 1)


def test_the_last_part_is_the_test_set_and_every_path_gives_the_same(series: Path) -> None:
    args, normalize = {"path": str(series), "window": 4}, components(("Normalize", {"mean": [50.0], "std": [30.0]}))
    valid = {"type": "SlidingWindows", "args": {**args, "part": "valid"}}
    data, by_sample = (
        make("SlidingWindows", args, valid=valid, transform=normalize, loader={"in_memory": held})
        for held in ("auto", False)
    )
    assert data.decisions["in_memory"]["train"]["in_memory"]
    assert (data.train.size, data.valid[""].size, data.test[""].size) == (66, 11, 11)
    assert equal(list(data.train.batches(1)), list(by_sample.train.batches(1)))
    assert next(data.test[""].batches())[0][0].tolist() == [85, 86, 87, 88]


def test_a_part_of_overlapping_windows_drawn_by_lot_is_refused(series: Path) -> None:
    with pytest.raises(ConfigError, match=r"samples of SlidingWindows overlap, and parts drawn by lot would share"):
        make("SlidingWindows", {"path": str(series), "window": 4}, valid=0.1)
