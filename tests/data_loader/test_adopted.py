"""Loaders that a project brings: order, split and randomness follow from the run's seed, wherever a pass is entered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from base import BaseDataLoader
from base.config.fields import Component
from base.config.keys import DataConfig, LoaderConfig
from base.errors import ConfigError
from base.registry import DATASETS, LOADERS
from tests.small_run import assert_same
from utils.seed import isolated_rng, rng_state


@DATASETS.register
class Noisy(Dataset[Any]):
    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> Any:
        return torch.tensor([index + torch.rand(()).item(), np.random.rand()]), index % 3


@DATASETS.register
class NoisyLoader(BaseDataLoader):
    def __init__(self, batch_size: int = 4, validation_split: float = 0.2, num_workers: int = 0) -> None:
        super().__init__(Noisy(), batch_size, True, validation_split, num_workers)


@DATASETS.register
class BackwardsLoader(NoisyLoader):
    """With an iteration of its own."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        return iter(list(super().__iter__())[::-1])


def assembled(kind: str = "NoisyLoader", seed: int = 0, **args: Any) -> Any:
    data = DataConfig(train=Component(type=kind, args=args), valid="split")
    return LOADERS.get("standard")(data, seed=seed, device=torch.device("cpu"))


@pytest.mark.parametrize("kind", ["NoisyLoader", "BackwardsLoader"])
def test_a_pass_can_be_entered_anywhere(kind: str) -> None:
    before = rng_state()
    data = assembled(kind)
    whole = list(data.train.batches(1))
    assert len(whole) == len(data.train) == 6 and data.train.size == 24
    assert_same(list(data.train.batches(1, 4)), whole[4:])
    assert not torch.equal(whole[0][0], next(iter(data.train.batches(2)))[0])
    assert_same(rng_state(), before)


def test_workers_change_nothing() -> None:
    alone, helped = assembled(), assembled(num_workers=1)
    assert_same(list(alone.train.batches(0)), list(helped.train.batches(0)))
    assert helped.train.workers == 1


def test_the_split_is_the_seeds() -> None:
    split, other = assembled(seed=0).split, assembled(seed=1).split
    assert sorted(torch.cat([*split.values()]).tolist()) == list(range(30)) and len(split["valid"]) == 6
    assert_same(split, assembled(seed=0).split)
    assert not torch.equal(split["valid"], other["valid"])
    np.random.seed(3)
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    NoisyLoader()
    assert np.array_equal(np.random.get_state()[1], state)  # type: ignore[index]


def test_facts_and_decisions_know_the_training_part() -> None:
    data = assembled()
    assert data.facts["data.num_classes"] == 3
    assert sum(data.facts["data.class_counts"]) == 24
    assert data.decisions["in_memory"]["train"]["reason"] == "NoisyLoader makes its batches itself"


def test_in_a_notebook_it_is_a_dataloader_as_theirs() -> None:
    with isolated_rng(5):
        loader = NoisyLoader(validation_split=0.2)
    valid = loader.split_validation()
    assert isinstance(loader, DataLoader) and isinstance(valid, DataLoader)
    assert (loader.n_samples, len(loader), len(valid), loader.batch_size) == (24, 6, 2, 4)
    assert NoisyLoader(validation_split=0).split_validation() is None
    assert NoisyLoader(validation_split=7).n_samples == 23
    with pytest.raises(ValueError, match=r"validation_split 1.0 of 30 samples leaves 0 to learn from"):
        NoisyLoader(validation_split=1.0)


def test_what_it_decides_itself_is_refused_elsewhere() -> None:
    data = DataConfig(train=Component(type="NoisyLoader"), loader=LoaderConfig(batch_size=3))
    with pytest.raises(ConfigError, match=r"data.loader: NoisyLoader makes its batches itself: write this in its args"):
        LOADERS.get("standard")(data, seed=0, device=torch.device("cpu"))
    data = DataConfig(train=Component(type="Noisy"), valid="split")
    with pytest.raises(
        ConfigError, match=r"split is what a loader sets aside, and Noisy has no method split_validation"
    ):
        LOADERS.get("standard")(data, seed=0, device=torch.device("cpu"))
