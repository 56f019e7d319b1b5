"""Small data sets that the project draws, whose answers are known."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch

from base.registry import DATASETS
from data_loader.held import Held
from data_loader.windows import windows_of


@DATASETS.register
class SyntheticLinear(Held):
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
class SyntheticSeries(Held):
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
