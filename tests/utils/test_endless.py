"""A loader read over and over finds its place in a shuffled pass again; the tracker's means."""

from __future__ import annotations

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from utils import MetricTracker, inf_loop, prepare_device


def loader() -> DataLoader[tuple[torch.Tensor, ...]]:
    return DataLoader(TensorDataset(torch.arange(10)), batch_size=3, shuffle=True)


def test_it_goes_on_in_the_middle_of_a_pass() -> None:
    torch.manual_seed(0)
    endless = inf_loop(loader())
    assert endless.batch_size == 3
    first = [batch[0].tolist() for batch in islice(endless, 6)]
    assert sorted(number for batch in first[:4] for number in batch) == list(range(10)) and first[:2] != first[4:]
    state = endless.state_dict()
    expected = [batch[0].tolist() for batch in islice(endless, 2)]

    torch.manual_seed(9)
    other = inf_loop(loader())
    other.load_state_dict(state)
    assert [batch[0].tolist() for batch in islice(other, 2)] == expected
    with pytest.raises(StopIteration):
        next(inf_loop([]))


def test_a_loader_that_is_exhausted_says_so_instead_of_an_epoch_without_batches() -> None:
    kept = inf_loop(number for number in range(3))
    assert list(islice(kept, 3)) == [0, 1, 2]
    with pytest.raises(RuntimeError, match="generator gave no batch after its first pass: return a fresh iterator"):
        next(kept)


def test_the_tracker_weighs_by_n() -> None:
    told: list[tuple[str, float]] = []

    class Writer:
        def add_scalar(self, key: str, value: float) -> None:
            told.append((key, float(value)))

    tracker = MetricTracker("loss", "accuracy", writer=Writer())
    tracker.update("loss", torch.tensor(1.0), n=3)
    tracker.update("loss", 5.0)
    assert tracker.avg("loss") == 2.0 and tracker.result() == {"loss": 2.0, "accuracy": 0.0}
    tracker.update("new", 1)
    tracker.reset()
    assert tracker.result() == {"loss": 0.0, "accuracy": 0.0, "new": 0.0}
    assert told == [("loss", 1.0), ("loss", 5.0), ("new", 1.0)]


def test_the_device_by_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.device.available_devices", lambda: ["cpu"])
    assert prepare_device(2) == (torch.device("cpu"), [])
    monkeypatch.setattr("utils.device.available_devices", lambda: ["cuda:0", "cpu"])
    assert prepare_device(1) == (torch.device("cuda"), [0])
