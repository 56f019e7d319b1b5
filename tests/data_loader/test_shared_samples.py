"""Two random splits of one collection, each drawn by a constructor of its own."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from base.registry import DATASETS
from data_loader import checks as shared
from tests.data_loader.toy_sets import make


@DATASETS.register
class ToySplit(Dataset[Any]):
    """Draws 80 of 100 samples to train, and takes the rest to test, with the seed that it is given."""

    def __init__(self, train: bool = True, seed: int | None = None, kinds: int = 100, broken: bool = False) -> None:
        order = random.Random(seed if seed is not None else train).sample(range(100), 100)
        self.members, self.kinds, self.broken = order[:80] if train else order[80:], kinds, broken

    def __len__(self) -> int:
        return len(self.members)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if self.broken and index == len(self.members) - 1:
            raise OSError("cannot be read")
        return torch.tensor([float(self.members[index] % self.kinds)]), self.members[index] % 2


@DATASETS.register
class ToySplitInMemory(ToySplit):
    def as_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        numbers = torch.tensor(self.members)
        return numbers[:, None].float(), numbers % 2


@pytest.mark.parametrize("kind", ["ToySplit", "ToySplitInMemory"])
def test_samples_that_two_splits_share_are_told(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    make(kind)
    count = len({*ToySplit(train=True).members} & {*ToySplit(train=False).members})
    assert count > 5
    assert [record.getMessage() for record in caplog.records] == [
        f"{kind} (test) shares {count} samples with {kind} (train): its scores are better than those on new data; draw "
        "both parts with one seed, or let the run split the data (data.valid: 0.1)"
    ]


def test_splits_that_share_nothing_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    make("ToySplit", {"seed": 3, "broken": True}, valid=0.2, on_error="skip")
    assert not caplog.records


def test_few_kinds_of_samples_are_no_leak(caplog: pytest.LogCaptureFixture) -> None:
    """The training set repeats them as often itself."""
    make("ToySplit", {"kinds": 8})
    assert not caplog.records


def test_a_part_that_was_compared_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(shared, "MOST_SAMPLES", 60)
    make("ToySplit")
    (record,) = caplog.records
    assert " with ToySplit (train) (compared 40 of 80 with 20 of 20): its scores" in record.getMessage()


def test_it_takes_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(shared, "MOST_SECONDS", -1.0)
    make("ToySplit")
    assert not caplog.records


def test_a_resume_does_not_compare_again(caplog: pytest.LogCaptureFixture) -> None:
    kept = make("ToySplit").decisions
    caplog.clear()
    make("ToySplit", kept=kept)
    assert not caplog.records


def test_a_long_list_of_samples_is_read_where_it_is() -> None:
    """Copying the paths of a million images would take seconds of each start."""

    class Paths:
        def __init__(self) -> None:
            self.samples, self.read = [f"{index}.png" for index in range(shared.MOST_COPIED + 1)], [0]

    given = Paths()
    copied = shared._copy(given)
    assert copied.samples is given.samples and copied.read is not given.read
