"""Iterable datasets: read forward, or from a state that was kept."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils import worker as torch_worker
from torch.utils.data._utils.worker import WorkerInfo

from base import fit
from base.errors import ConfigError, DataError
from tests.data_loader.toy_sets import Counted, components, equal, make
from tests.small_run import assert_same_run, rows, small_config, stopped_and_resumed


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
    assert state == {"pass": 1, "batch": 2, "dataset": {"next": 12}}
    last = stream({"resumable": True})
    last.train.load_state_dict(state)
    assert equal(list(last.train.batches(1, 2)), expected[2:])
    dataset = last.train._batches.samples.dataset
    assert dataset.read == 8  # of 20
    assert stream().train.state_dict() == stream({"resumable": True}, num_workers=1).train.state_dict() == {}


def test_a_state_of_another_place_is_not_gone_on_from() -> None:
    expected = list(stream({"resumable": True}).train.batches(1))
    other = stream({"resumable": True})
    next(other.train.batches(1))
    again = stream({"resumable": True})
    again.train.load_state_dict(other.train.state_dict())
    assert equal(list(again.train.batches(1)), expected)


def test_every_pass_begins_anew_even_if_one_was_left_halfway() -> None:
    for size in (18, 20):  # with whole batches nobody asks the stream for its end
        expected = list(stream({"size": size}).train.batches(2))
        data = stream({"size": size, "resumable": True})
        next(data.train.batches())
        assert sum(len(y) for _, y in data.train.batches(1)) == size
        assert equal(list(data.train.batches(2)), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_counts_epochs_is_told_the_pass(workers: int) -> None:
    data = make("ToyShuffledStream", loader={"batch_size": 6, "num_workers": workers})
    orders = [torch.cat([y for _, y in data.train.batches(pass_)]).tolist() for pass_ in (0, 1, 0)]
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_a_stream_that_fail_may_be_left_out(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    loader = {"batch_size": 6, "num_workers": workers}
    whole = list(make("ToyStream", transform=components("jitter"), loader=loader).train.batches())
    data = make("ToyStream", transform=components("fail_on_eighth", "jitter"), loader=loader, on_error="skip")
    for _ in range(2):
        batches = list(data.train.batches())
        assert [len(y) for _, y in batches] == [6, 5, 6, 2]
        kept = [0, 2, 3, 4, 5]
        assert equal(batches[1], [part[kept] for part in whole[1]]) and equal(batches[2], whole[2])
    told = [record.getMessage() for record in caplog.records]
    assert told == ["left out (1 of at most 10): ToyStream (train): sample 7, fail_on_eighth: ValueError: the eighth"]
    with pytest.raises(DataError, match=r"ToyStream \(train\): sample 7, fail_on_eighth: ValueError: the eighth"):
        list(make("ToyStream", transform=components("fail_on_eighth", "jitter"), loader=loader).train.batches())


def test_too_many_that_fail_end_it_and_so_does_the_stream_itself() -> None:
    transform = components("fail_always")
    data = make("ToyStream", transform=transform, on_error="skip", max_errors=3)
    with pytest.raises(DataError, match=r"more than data.max_errors \(3\) samples fail, the last of them: ToyStream"):
        list(data.train.batches())
    data = make("ToyStream", {"breaks": 9}, loader={"batch_size": 6}, on_error="skip")
    with pytest.raises(DataError, match=r"ToyStream \(train\): sample 9: OSError: the connection is gone"):
        list(data.train.batches())


def test_a_resumed_run_reads_only_what_it_had_not_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "data__train": {"type": "ToyPictures"},
        "data__valid": {"type": "ToyPictures"},
        "data__test": None,
        "data__transform__train": [{"type": "jitter"}, {"type": "ToFloat"}],
        "data__loader__batch_size": 16,
    }
    whole = fit(small_config(tmp_path / "whole", tmp_path, **changes))
    config = small_config(tmp_path / "stopped", tmp_path, **changes)
    run = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 7}}]})
    read = whole.trainer.data.train._batches.samples.dataset.read  # type: ignore[attr-defined]
    assert (run.reason, read) == ("test", 3 * 80)
    resumed = fit(resume=run.path, overrides={"callbacks": []})
    assert_same_run(whole, resumed)
    read = resumed.trainer.data.train._batches.samples.dataset.read  # type: ignore[attr-defined]
    assert read == 80 + 80 - 2 * 16


def test_an_endless_stream_has_passes_of_its_length() -> None:
    assert sum(len(y) for _, y in stream({"endless": True}).train.batches()) == 24  # full batches
    data = stream({"endless": True}, num_workers=2)
    batches = list(data.train.batches(1))
    assert len(batches) == len(data.train) == 4
    assert equal(list(data.train.batches(1, 3)), batches[3:])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("kind", ["ToyStream", "ToySharded"])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_do_not_depend_on_the_number_of_workers(kind: str, workers: int) -> None:
    def made(workers: int) -> Any:
        return make(kind, transform=components("jitter"), loader={"batch_size": 3, "num_workers": workers})

    expected = list(made(0).train.batches(1))
    assert torch.cat([y for _, y in expected]).tolist() == list(range(20))
    data = made(workers)
    assert equal(list(data.train.batches(1)), expected)
    assert equal(list(data.train.batches(1, 4)), expected[4:])
    assert get_worker_info() is None


def test_a_worker_makes_no_batches_that_it_does_not_give() -> None:
    data = make("ToyStream", transform=components("jitter"), loader={"batch_size": 3})
    stream, made = data.train._batches, []  # type: ignore[attr-defined]
    stream._batch = lambda samples, first: made.append(first)
    list(stream)
    assert made == [0, 3, 6, 9, 12, 15, 18]
    made.clear()
    info = WorkerInfo(id=1, num_workers=3, seed=0, dataset=stream)
    torch_worker._worker_info = info
    list(stream)
    assert made == [3, 12] and torch_worker._worker_info is None


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
@pytest.mark.parametrize("workers", [0, 2, 3])
@pytest.mark.parametrize("kind", ["ToyStream", "ToySharded"])
def test_an_error_of_the_stream_is_told_once_whichever_worker_meets_it(kind: str, workers: int) -> None:
    data = make(kind, {"breaks": 9}, loader={"batch_size": 2, "num_workers": workers})
    given = []
    with pytest.raises(DataError) as error:
        for _, y in data.train.batches():
            given += y.tolist()
    assert str(error.value) == f"{kind} (train): sample 9: OSError: the connection is gone"
    assert given == list(range(8))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"size": 20, "says": 25}, "25 samples, and the stream ended after 20: a pass takes all of them"),
        ({"size": 14, "says": 12}, "12 samples, and the stream has 13 or more: a pass takes 12 of them"),
        ({"size": 22, "says": 20}, "20 samples, and the stream ended after 22: a pass takes 22 of them"),
        ({"size": 20}, ""),
        ({"size": 18}, ""),
    ],
)
def test_a_length_that_does_not_hold_is_told_once(
    workers: int, args: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    data = stream({**args, "resumable": True}, num_workers=workers)
    sizes = [sum(len(y) for _, y in data.train.batches(pass_)) for pass_ in (0, 1)]
    assert sizes[0] == sizes[1]
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ([f"ToyStream (train): __len__ says {told}"] if told else [])


def test_a_longer_stream_is_noticed_before_the_last_batch_of_a_pass_is_given(caplog: pytest.LogCaptureFixture) -> None:
    """A run of one epoch never asks for the batch after it."""
    data = stream({"size": 14, "says": 12, "resumable": True})
    batches = data.train.batches()
    next(batches), next(batches)
    assert "ToyStream (train): __len__ says 12 samples" in caplog.text
    assert data.train.state_dict() == {"pass": 0, "batch": 2, "dataset": {"next": 12}}


def test_with_drop_last_the_samples_that_are_left_are_not_taken_for_more(caplog: pytest.LogCaptureFixture) -> None:
    for workers in (0, 2):
        assert len(list(stream(drop_last=True, num_workers=workers).train.batches())) == 3
    assert not caplog.records


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_without_length_trains_by_steps_per_epoch(tmp_path: Path, workers: int) -> None:
    changes: dict[str, Any] = {
        "data__train": {"type": "ToyUnmeasured", "args": {"size": 40}},
        "data__valid": {"type": "ToyUnmeasured", "args": {"size": 20}},
        "data__test": None,
        "data__loader__batch_size": 16,
        "data__loader__num_workers": workers,
        "trainer__steps_per_epoch": 4,
    }
    whole = fit(small_config(tmp_path / "whole", tmp_path, **changes))
    assert (whole.reason, whole.trainer.progress.step, whole.trainer.progress.pass_) == ("finished", 12, 3)
    assert "val_accuracy" in rows(whole)[1]
    resumed = stopped_and_resumed(small_config(tmp_path / "stopped", tmp_path, **changes), 6)
    assert_same_run(whole, resumed)


def test_a_stream_without_end_trains_by_steps_per_epoch(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data__valid": None, "data__test": None, "trainer__monitor": "min loss"}
    changes |= {"data__train": {"type": "ToyUnmeasured"}, "trainer__steps_per_epoch": 3, "trainer__epochs": 2}
    run = fit(small_config(tmp_path, tmp_path, **changes))
    assert (run.trainer.progress.step, run.trainer.progress.pass_) == (6, 0)


def test_without_length_and_steps_per_epoch_nothing_is_started(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data__train": {"type": "ToyUnmeasured"}, "data__valid": None, "data__test": None}
    file = small_config(tmp_path, tmp_path, **changes, trainer__monitor="min loss")
    with pytest.raises(ConfigError) as error:
        fit(file)
    (fault,) = error.value.faults
    what = (
        "data.train: ToyUnmeasured (train) is read as a stream and has no length; set trainer.steps_per_epoch, or give "
        "its class a __len__: how many samples make a pass"
    )
    assert str(fault).endswith(what) and f"{file}:" in str(fault)


def test_no_part_of_a_stream_can_be_set_aside_or_held_in_memory() -> None:
    with pytest.raises(ConfigError, match=r"data\.valid: ToyStream is read as a stream, no part can be set aside"):
        make("ToyStream", valid=0.1)
    with pytest.raises(
        ConfigError, match=r"data.loader.in_memory: ToyStream \(train\) cannot be held in memory: ToyStream is"
    ):
        make("ToyStream", loader={"in_memory": True})
