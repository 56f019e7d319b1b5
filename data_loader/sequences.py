"""Windows of time series, texts, and small generated datasets with known answers."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from base.errors import DataError
from base.registry import DATASETS
from data_loader.samples import InMemoryDataset
from data_loader.tables import CsvFile, read_npy, read_npz


@DATASETS.register
class SlidingWindows(InMemoryDataset):
    """Every `window` consecutive steps of a series, with the `horizon` steps that follow as the target.

    A sample of a series (T,) is (float32 (window,), float32 (horizon,)), of (T, channels) it is
    (float32 (window, channels), float32 (horizon, channels)). The last shares `valid` and `test` of the steps are the
    parts of these names; no window reaches from one part into another. Windows share memory: all of them together take
    what the series takes.

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
    spans = {"train": (0, first_valid), "valid": (first_valid, first_test), "test": (first_test, len(series))}
    begin, end = spans[part]
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


PADDING, UNKNOWN = 0, 1
"""Numbers that stand for no word."""


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


class Texts(Dataset[dict[str, Any]], ABC):
    """Samples are dicts with a `text` and a `label`, an int; a batch holds `tokens`, int64 (B, longest text) with
    PADDING behind the shorter ones, and `label`, int64 (B,).

    `learn` and `use` are called by the program: the vocabulary comes from the training texts, is saved with the run,
    and is given to every set. A word that it lacks is UNKNOWN.
    """

    def __init__(self, most_words: int = 10_000) -> None:
        self.most_words = most_words
        self.numbers: dict[str, int] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @property
    def vocab_size(self) -> int:
        """With the two numbers that are no words."""
        return len(self.numbers) + 2

    def learn(self, indices: Sequence[int]) -> list[str]:
        """The words of these texts, the most frequent first."""
        counts = Counter(word for index in indices for word in words_of(self[index]["text"]))
        return sorted(counts, key=lambda word: (-counts[word], word))[: self.most_words]

    def use(self, vocabulary: Sequence[str]) -> None:
        self.numbers = {word: number for number, word in enumerate(vocabulary, start=2)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [[self.numbers.get(word, UNKNOWN) for word in words_of(sample["text"])] for sample in samples]
        longest = max(1, *map(len, texts))
        return {
            "tokens": torch.tensor([text + [PADDING] * (longest - len(text)) for text in texts]),
            "label": torch.tensor([sample["label"] for sample in samples]),
        }


@DATASETS.register
class SyntheticReviews(Texts):
    """Random sentences about films. The last clause decides, and a `not` reverses it, so that single words do not
    separate praise (1) from blame (0). `train: false` gives other sentences, with some words of their own.
    """

    classes = ("blame", "praise")
    subjects = (
        "the film",
        "the plot",
        "the music",
        "this story",
        "the acting",
        "the ending",
        "every scene",
        "the cast",
    )
    praise = ("wonderful", "gripping", "funny", "brilliant", "moving", "clever", "charming", "great")
    blame = ("dull", "tiresome", "shallow", "awful", "clumsy", "boring", "empty", "weak")
    degrees = ("", "really", "quite", "rather", "truly", "very")
    rare = ("frankly", "sadly", "happily", "honestly", "admittedly")

    def __init__(self, size: int = 2000, train: bool = True, seed: int = 0, most_words: int = 10_000) -> None:
        super().__init__(most_words)
        dice = random.Random(f"{seed} {train}")
        self.samples = [self._draw(dice, train) for _ in range(size)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.samples[index])

    def _draw(self, dice: random.Random, train: bool) -> dict[str, Any]:
        clauses, label = [], 0
        for _ in range(dice.randint(1, 3)):
            label, turned = dice.randint(0, 1), dice.random() < 0.3
            adjective = dice.choice(self.praise if label != turned else self.blame)
            parts = (dice.choice(self.subjects), "was", "not" if turned else "", dice.choice(self.degrees), adjective)
            clauses.append(" ".join(filter(None, parts)))
        opening = "" if train or dice.random() < 0.5 else f"{dice.choice(self.rare)}, "
        return {"text": (opening + ", but ".join(clauses) + ".").capitalize(), "label": label}


@DATASETS.register
class SyntheticLinear(InMemoryDataset):
    """Points (features,) and values (1,), float32: a weighted sum of the features, a constant, and noise.

    Features are standard normal, weights and constant drawn with `seed`; `train: false` gives other points of the same
    plane. `noise` is a standard deviation.
    """

    def __init__(
        self, size: int = 2000, features: int = 8, noise: float = 0.1, train: bool = True, seed: int = 0
    ) -> None:
        plane = np.random.default_rng([seed, 0])
        self.weights, self.constant = plane.normal(size=features), plane.normal()
        points = np.random.default_rng([seed, 1 + train])
        inputs = points.normal(size=(size, features))
        values = inputs @ self.weights + self.constant + noise * points.normal(size=size)
        super().__init__(torch.from_numpy(inputs).float(), torch.from_numpy(values).float().unsqueeze(1))


@DATASETS.register
class SyntheticSeries(InMemoryDataset):
    """Windows, as SlidingWindows gives them, over a series (steps,): two periods, 24 and 168 steps as of hours in a day
    and a week, a slow drift, and noise that remembers (an autoregression of 0.8).
    """

    overlapping: ClassVar = True

    def __init__(
        self,
        steps: int = 4000,
        window: int = 48,
        horizon: int = 6,
        part: Literal["train", "valid", "test"] = "train",
        valid: float = 0.15,
        test: float = 0.15,
        seed: int = 0,
    ) -> None:
        time = np.arange(steps)
        shocks = 0.1 * np.random.default_rng(seed).normal(size=steps)
        noise = np.zeros(steps)
        for t in range(1, steps):
            noise[t] = 0.8 * noise[t - 1] + shocks[t]
        series = np.sin(2 * np.pi * time / 24) + 0.5 * np.sin(2 * np.pi * time / 168) + 0.2 * time / steps + noise
        super().__init__(*windows_of(series, "SyntheticSeries", window, horizon, part, valid, test))
