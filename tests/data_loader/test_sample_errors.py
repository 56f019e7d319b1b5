"""What goes wrong with a sample is told with dataset, index and file, whichever process read it."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import re
import signal
import sys
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from base import fit
from base.errors import ConfigError, DataError
from data_loader.samples import Reading, WorkerError, note_reading
from tests.data_loader.toy_sets import components, equal, make
from tests.small_run import assert_same_run, small_config, stopped_and_resumed

CROP = components(("RandomCrop", {"size": 8}))


def train(data: Any) -> list[Any]:
    return list(data.train.batches())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_sample_that_cannot_be_read_is_named_with_its_file(workers: int) -> None:
    data = make("ToyFolder", {"broken": 5}, transform=CROP, loader={"num_workers": workers, "batch_size": 2})
    before = set(multiprocessing.active_children())
    with pytest.raises(DataError) as error:
        train(data)
    assert set(multiprocessing.active_children()) <= before
    message = "ToyFolder (train): sample 5, file photos/5.png: OSError: cannot identify image"
    assert str(error.value) == message and error.value.exit_code == 5
    cause = error.value.__cause__
    if workers:
        assert isinstance(cause, WorkerError) and "toy_sets.py" in str(cause)
    else:
        assert isinstance(cause, OSError) and cause.__traceback__ is not None


def test_a_sample_that_cannot_be_read_is_found_early_if_it_is_among_the_first_that_are_looked_at() -> None:
    with pytest.raises(DataError, match=r"ToyFolder \(train\): sample 0, file photos/0.png: OSError"):
        make("ToyFolder", {"broken": 0})


def test_the_index_is_that_of_the_whole_set_in_a_part_of_it_too() -> None:
    data = make("ToyFolder", {"broken": 31, "size": 40}, transform=CROP, valid=20, eval_transform=CROP, seed=1)
    where = "valid" if 31 in data.split["valid"] else "train"
    with pytest.raises(DataError, match=rf"ToyFolder \({where}\): sample 31, file photos/31.png: OSError"):
        list((data.valid[""] if where == "valid" else data.train).batches())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_transform_that_fails_is_named(workers: int) -> None:
    loader = {"in_memory": False, "num_workers": workers, "shuffle": False}
    data = make(args={"size": 400}, transform=components("fail_on_bright"), loader=loader)
    with pytest.raises(DataError, match=r"ToyImages \(train\): sample \d+, fail_on_bright: RuntimeError: too bright$"):
        train(data)


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_that_make_no_batch_are_named(workers: int) -> None:
    data = make("ToyFolder", loader={"num_workers": workers, "shuffle": False})
    with pytest.raises(
        DataError, match=r"ToyFolder \(train\): samples 0, 1, 2, \.\.\. do not make a batch: RuntimeError: .*equal size"
    ):
        train(data)


@pytest.mark.parametrize("workers", [0, 1])
def test_memory_that_runs_out_is_not_the_fault_of_a_sample(workers: int) -> None:
    loader = {"num_workers": workers, "batch_size": 2}
    data = make("ToyFolder", {"broken": 5, "memory": True}, transform=CROP, loader=loader)
    before = set(multiprocessing.active_children())
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        train(data)
    assert set(multiprocessing.active_children()) <= before


@pytest.mark.parametrize("how", ["fork", "spawn"] if hasattr(os, "fork") else ["spawn"])
def test_a_worker_that_dies_is_told_in_one_line_with_what_it_read(how: str) -> None:
    loader = {"num_workers": 2, "batch_size": 2, "multiprocessing_context": how}
    data = make("ToyFolder", {"broken": 5, "kill": True}, transform=CROP, loader=loader)
    with pytest.raises(DataError) as error:
        train(data)
    message = str(error.value)
    where = r"ToyFolder \(train\): a worker process died, reading sample 5, file photos/5.png"
    assert re.fullmatch(where + r": RuntimeError: DataLoader worker \(pid.*", message) and error.value.exit_code == 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the transform below is no module's, and must be inherited")
def test_a_worker_that_dies_over_a_whole_batch_names_its_first_sample() -> None:
    loader = {"num_workers": 1, "batch_size": 4, "shuffle": False, "multiprocessing_context": "fork"}
    data = make("ToyFolder", transform=CROP, loader=loader)
    data.train._loader.dataset.collate = lambda samples: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[attr-defined]
    with pytest.raises(DataError, match=r"died, reading sample 0, file photos/0.png and 3 more of its batch: "):
        train(data)


def test_a_worker_that_dies_during_a_step_is_told_when_the_next_batch_is_asked_for() -> None:
    before = set(multiprocessing.active_children())
    batches = make("ToyFolder", transform=CROP, loader={"num_workers": 1, "batch_size": 1}).train.batches()
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - before
    worker.kill()
    os.waitid(os.P_PID, worker.pid or 0, os.WEXITED | os.WNOWAIT)  # torch's own handler would raise here
    with pytest.raises(DataError, match=r"ToyFolder \(train\): a worker process died: RuntimeError: DataLoader worker"):
        next(batches)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Python's own way")
def test_workers_are_forked_on_linux_whatever_python_does() -> None:
    for asked, started in ((None, "fork"), ("spawn", "spawn")):
        loader = make("ToyFolder", loader={"num_workers": 1, "multiprocessing_context": asked}).train._loader  # type: ignore[attr-defined]
        assert loader.multiprocessing_context.get_start_method() == started


def test_a_worker_that_is_too_slow_is_told_in_one_line() -> None:
    loader = {"num_workers": 1, "in_memory": False, "timeout": 0.1, "worker_init_fn": {"type": "slow"}}
    what = r"^ToyImages \(train\): a worker process is too slow: RuntimeError: DataLoader timed out after 0.1 seconds$"
    with pytest.raises(DataError, match=what):
        train(make(loader=loader))


def test_what_no_worker_can_be_sent_is_told() -> None:
    data = make("ToyFolder", loader={"num_workers": 1, "multiprocessing_context": "spawn"})
    data.train._loader.dataset.dataset.secret = lambda: None  # type: ignore[attr-defined]
    what = r"ToyFolder \(train\): no worker process can be started: \w+Error: .*lambda.*; set num_workers: 0"
    with pytest.warns(UserWarning, match="pickle error"), pytest.raises(DataError, match=what):
        train(data)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("kind", "step", "what"),
    [
        (
            "train",
            ("RandomCrop", {"size": 40}),
            "RandomCrop fails on sample 0 of ToyImages (train): ValueError: RandomCrop: a window",
        ),
        (
            "train",
            ("Normalize", {"mean": [0.5], "std": [0.5]}),
            "Normalize fails on sample 0 of ToyImages (train): ValueError: Normalize: exp",
        ),
    ],
)
def test_transforms_that_do_not_fit_the_data_are_found_before_anything_starts(
    in_memory: bool, kind: str, step: Any, what: str
) -> None:
    with pytest.raises(ConfigError) as error:
        make(loader={"in_memory": in_memory}, transform=components(step))
    assert what in str(error.value) and error.value.faults[0].key == f"data.transform.{kind}"


def test_a_dict_sample_needs_the_name_of_its_input() -> None:
    with pytest.raises(
        ConfigError, match=r"data.keys.input: expected one of the sample's keys \(text, target, nested\), found none"
    ):
        make("ToyWords", transform=components("ToFloat"))


@pytest.mark.parametrize("workers", [0, 2])
def test_samples_that_fail_may_be_left_out_and_are_counted(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    loader = {"num_workers": workers, "batch_size": 4, "shuffle": False}
    whole = train(make("ToyFolder", transform=CROP, loader=loader))
    data = make("ToyFolder", {"broken": 5}, transform=CROP, loader=loader, on_error="skip")
    for _ in range(2):
        batches = train(data)
        assert [len(labels) for _, labels in batches] == [3 if i == 1 else len(y) for i, (_, y) in enumerate(whole)]
        for (images, labels), (all_images, all_labels) in zip(batches, whole, strict=True):
            kept = [i for i, label in enumerate(all_labels) if len(labels) == len(all_labels) or i != 1]
            assert images.equal(all_images[kept]) and labels.equal(all_labels[kept])
    told = [r.getMessage() for r in caplog.records]
    assert told == [
        "left out (1 of at most 10): ToyFolder (train): sample 5, file photos/5.png: OSError: cannot identify image"
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_failing_samples_only_is_left_out(workers: int, caplog: pytest.LogCaptureFixture) -> None:
    """In training and validation, with a resume at any place."""
    loader = {"num_workers": workers, "batch_size": 1, "shuffle": False}
    broken = {"type": "ToyFolder", "args": {"broken": 5}}
    data = make("ToyFolder", {"broken": 5}, loader=loader, on_error="skip", valid=broken)
    batches = train(data)
    assert [int(x.max()) for x, _ in batches] == [0, 1, 2, 3, 4, 6, 7]
    assert [int(x.max()) for x, _ in data.valid[""].batches()] == [0, 1, 2, 3, 4, 6, 7]
    said = [r.getMessage().partition(": ")[0] for r in caplog.records]
    assert [text for text in said if "shares" not in text] == ["left out (1 of at most 10)"] * 2
    for start in range(1, 8):
        going = data.train.batches(3)
        for _ in range(start):
            next(going, None)
        state = data.train.state_dict()
        assert state == ({"left_out": {"pass": 3, "batches": [5]}} if start > 5 else {})
        resumed = make("ToyFolder", {"broken": 5}, loader=loader, on_error="skip")
        resumed.train.load_state_dict(state)
        assert equal(list(resumed.train.batches(3, start)), batches[start:])
        assert equal(list(resumed.train.batches(4)), batches)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("resumable", [True, False])
def test_a_batch_of_a_stream_that_fails_as_a_whole_is_left_out(workers: int, resumable: bool) -> None:
    def made() -> Any:
        args, transform = {"resumable": resumable}, components("fail_on_eighth")
        loader = {"num_workers": workers, "batch_size": 1}
        return make("ToyStream", args, transform=transform, loader=loader, on_error="skip")

    expected = [number for number in range(20) if number != 7]
    for start in (0, 5, 7, 8, 19):
        data = made()
        going = data.train.batches(2)
        read = [int(y) for _, y in itertools.islice(going, start)]
        resumed = made()
        resumed.train.load_state_dict(data.train.state_dict())
        assert read + [int(y) for _, y in resumed.train.batches(2, start)] == expected


def test_a_run_goes_on_past_batches_that_are_left_out_and_is_resumed_exactly(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "data__train": {"type": "ToyRare", "args": {"broken": [1, 5, 6]}},
        "data__valid": {"type": "ToyRare", "args": {"broken": [2]}},
        "data__test": None,
        "data__on_error": "skip",
        "data__loader__batch_size": 1,
    }
    whole = fit(small_config(tmp_path / "whole", tmp_path, **changes))
    assert whole.trainer.progress.step == 3 * 12  # an epoch keeps its steps: it goes on in the next pass
    assert (whole.trainer.progress.pass_, whole.trainer.progress.batch) == (3, 9)
    resumed = stopped_and_resumed(small_config(tmp_path / "stopped", tmp_path, **changes), 8, 15)
    assert_same_run(whole, resumed)


def test_if_every_sample_fails_there_is_nothing_to_go_on_with() -> None:
    data = make("ToyFolder", transform=CROP, on_error="skip", max_errors=20)
    data.train._loader.dataset.dataset.broken = range(8)  # type: ignore[attr-defined]
    with pytest.raises(DataError) as error:
        train(data)
    assert str(error.value) == "ToyFolder (train): every sample fails: there is nothing to go on with"


def test_too_many_samples_that_fail_end_the_run() -> None:
    loader = {"in_memory": False, "shuffle": False}
    data = make(
        args={"size": 400}, transform=components("fail_on_bright"), loader=loader, on_error="skip", max_errors=3
    )
    with pytest.raises(DataError, match=r"more than data.max_errors \(3\) samples fail, the last of them: ToyImages"):
        train(data)


def test_a_first_sample_that_fails_may_be_left_out_too() -> None:
    data = make("ToyFolder", {"broken": 0}, transform=CROP, on_error="skip")
    assert sum(len(labels) for _, labels in train(data)) == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the child is forked")
def test_a_worker_whose_pipe_breaks_before_it_has_ended_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process is still there when the main process first looks."""
    reading, context = Reading(1), multiprocessing.get_context("fork")
    begun, may_end = context.Event(), context.Event()

    def die_at_work() -> None:
        reading.take_slot(0)
        note_reading([5, 6])
        begun.set()
        may_end.wait()
        os._exit(1)

    def release_and_wait(sentinels: list[int], patience: float) -> Any:
        may_end.set()
        return wait(sentinels)

    monkeypatch.setattr("data_loader.samples.wait", release_and_wait)
    child = context.Process(target=die_at_work)
    child.start()
    begun.wait()
    assert reading.lost() == [(5, 2)]
    child.join()
