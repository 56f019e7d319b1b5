"""A pass that is exhausted or does not come ends a run instead of hanging it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import IterableDataset

from base import CALLBACKS, DATASETS, Callback, fit
from base.errors import DataError
from tests.small_run import assert_same_run, small_config

MEND = "return a fresh iterator each time from __iter__ of the dataset, its sampler or its loader"


def sample(number: int) -> tuple[torch.Tensor, int]:
    return torch.full((4,), number / 100), number % 3


@DATASETS.register
class KeptGenerator(IterableDataset[Any]):
    """Its __iter__ returns the same iterator each time, which holds `held` samples."""

    def __init__(self, held: int = 48, size: int = 32) -> None:
        self.size, self.samples = size, map(sample, range(held))

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[Any]:
        return self.samples


@DATASETS.register
class Blocked(IterableDataset[Any]):
    """Somebody asks the run to end, and then no sample comes any more, after `before` of them."""

    waits = True

    def __init__(self, before: int = 40) -> None:
        self.before, self.next = before, 0

    def __len__(self) -> int:
        return 32

    def __iter__(self) -> Iterator[Any]:
        for number in range(32):
            if Blocked.waits and self.before == 0:
                os.kill(os.getpid(), signal.SIGTERM)
                threading.Event().wait()
            self.before -= 1
            self.next = number + 1
            yield sample(number)

    def state_dict(self) -> dict[str, Any]:
        return {"next": self.next}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Reads from the beginning: a state from within a batch would be gone on from wrongly."""
        assert state["next"] % 16 == 0


def stream_config(folder: Path, train: Any, **changes: Any) -> Path:
    base: dict[str, Any] = {
        "data__train": train,
        "data__valid": "off",
        "data__transform": {},
        "data__loader__batch_size": 16,
        "model": {"type": "MLP", "args": {"input_shape": [4], "num_classes": 3, "hidden": [4]}},
        "trainer__epochs": 3,
    }
    return small_config(folder, folder, **{**base, **changes})


def test_an_exhausted_stream_names_the_pass_and_the_mend(tmp_path: Path) -> None:
    message = r"^KeptGenerator \(train\): pass 3 gave 0 batches, expected 2 \(32 samples\): " + MEND
    with pytest.raises(DataError, match=message):
        fit(stream_config(tmp_path, {"type": "KeptGenerator", "args": {"held": 64}}))  # 16 for the look before


def test_validation_data_that_is_exhausted_is_no_evaluation_without_values(tmp_path: Path) -> None:
    valid = {"type": "KeptGenerator", "args": {"held": 64}}  # a batch is looked at before the start
    train = {"type": "KeptGenerator", "args": {"held": 640}}
    with pytest.raises(DataError, match=r"^KeptGenerator \(valid\): val gave 0 batches, expected 2 \(32 samples\): "):
        fit(stream_config(tmp_path, train, data__valid=valid, trainer__epochs=9))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_signal_ends_a_run_that_waits_for_data_and_it_resumes_bit_exactly(
    accumulate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream has a state, which is of no use in the middle of a batch."""
    monkeypatch.setattr("base.loop.stopping.SECONDS", 0.01)
    config = stream_config(tmp_path, "Blocked", trainer__accumulate=accumulate)
    monkeypatch.setattr(Blocked, "waits", False)
    whole = fit(config)
    monkeypatch.setattr(Blocked, "waits", True)
    alarm = signal.getsignal(signal.SIGALRM)
    run = fit(config)
    assert (run.reason, run.signal) == ("signal", signal.SIGTERM)
    assert signal.getsignal(signal.SIGALRM) is alarm and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    monkeypatch.setattr(Blocked, "waits", False)
    assert_same_run(whole, fit(resume=run.path))


def test_a_signal_ends_an_evaluation_that_waits_for_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("base.loop.stopping.SECONDS", 0.01)
    train = {"type": "KeptGenerator", "args": {"held": 640}}
    run = fit(stream_config(tmp_path, train, data__valid={"type": "Blocked", "args": {"before": 40}}))
    assert run.reason == "signal" and run.trainer.progress.phase == "validate"


def test_a_callback_that_evaluates_is_left_on_a_signal(tmp_path: Path, garments: Path) -> None:
    @CALLBACKS.register
    class Evaluates(Callback):
        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            trainer.evaluate(trainer.data.valid[""], "once more")

    run = fit(small_config(tmp_path, garments, callbacks=["Evaluates"]))
    assert run.reason == "signal" and run.trainer.progress.epoch == 2
