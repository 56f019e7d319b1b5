"""Iterable data sets: read forward, or from a state that was kept."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from base.errors import ConfigError, DataError
from tests.data_loader.toy_sets import Counted, components, equal, make


def stream(args: dict[str, Any] | None = None, **loader: Any) -> Any:
    return make("ToyStream", args, transform=components("jitter"), loader={"batch_size": 6, **loader})


def test_a_stream_is_cut_into_batches_in_its_own_order() -> None:
    data = stream()
    batches = list(data.train.batches())
    assert [y.tolist() for _, y in batches] == [
        [0, 1, 2, 3, 4, 5],
        [6, 7, 8, 9, 10, 11],
        [12, 13, 14, 15, 16, 17],
        [18, 19],
    ]
    assert (data.train.size, len(data.train), data.decisions["in_memory"]["train"]["in_memory"]) == (20, 4, False)
    assert len(list(stream(drop_last=True).train.batches())) == len(stream(drop_last=True).train) == 3


def test_starting_at_a_batch_reads_forward_and_gives_the_same(caplog: pytest.LogCaptureFixture) -> None:
    expected = list(stream().train.batches(3))
    torch.manual_seed(7)
    with caplog.at_level(logging.INFO):
        assert equal(list(stream().train.batches(3, 2)), expected[2:])
    assert "ToyStream (train): read 2 batches forward in" in caplog.text
    assert not equal(list(stream().train.batches(4)), expected)


def test_what_is_only_read_forward_is_not_transformed() -> None:
    data = make("ToyStream", transform=components("Counted"), loader={"batch_size": 6})
    before = Counted.seen
    assert sum(len(y) for _, y in data.train.batches(0, 2)) == Counted.seen - before == 8


def test_a_state_that_was_kept_spares_reading_forward() -> None:
    first = stream({"resumable": True})
    batches = first.train.batches(1)
    expected = [next(batches) for _ in range(4)]
    again = stream({"resumable": True})
    batches = again.train.batches(1)
    assert equal([next(batches), next(batches)], expected[:2])
    state = again.train.state_dict()
    assert state == {"dataset": {"next": 12}}
    last = stream({"resumable": True})
    last.train.load_state_dict(state)
    assert equal(list(last.train.batches(1, 2)), expected[2:])
    assert stream().train.state_dict() == {}


def test_an_endless_stream_has_passes_of_its_length() -> None:
    assert sum(len(y) for _, y in stream({"endless": True}).train.batches()) == 24  # full batches
    data = stream({"endless": True}, num_workers=2)
    batches = list(data.train.batches(1))
    assert len(batches) == len(data.train) == 4
    assert equal(list(data.train.batches(1, 3)), batches[3:])


def test_a_stream_without_length_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"ToyEndless \(train\) is read as a stream and has no length; give its class a __len__"
    ):
        make("ToyEndless")


def test_no_part_of_a_stream_can_be_set_aside_or_held_in_memory() -> None:
    with pytest.raises(ConfigError, match=r"data\.valid: ToyStream is read as a stream, no part can be set aside"):
        make("ToyStream", valid=0.1)
    with pytest.raises(
        ConfigError, match=r"data.loader.in_memory: ToyStream \(train\) cannot be held in memory: ToyStream is"
    ):
        make("ToyStream", loader={"in_memory": True})
