"""Where held data lies, decided against a device that is made up; and copies that run ahead, in the order they must."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from base.config.keys import DataConfig
from data_loader.assemble import standard
from data_loader.loaders import InMemoryLoader
from data_loader.prefetch import DevicePrefetcher, Placement
from data_loader.samplers import Ordered, SequentialBatches
from data_loader.transforms import Pipeline, ToFloat
from tests.data_loader.toy_sets import equal, make
from utils.batches import SampleKeys

FAR = torch.device("meta")
"""Stands for an accelerator: tensors can be moved there, and say that they are."""


def megabytes(count: int) -> list[Tensor]:
    return [torch.zeros(count - 1, 10**6, dtype=torch.uint8), torch.zeros(count - 1, 125_000, dtype=torch.int64)[:1]]


def test_what_fits_into_the_share_lies_on_the_device_and_parts_of_a_set_lie_there_once() -> None:
    train, test = megabytes(7), megabytes(4)
    place = Placement(FAR, free=lambda device: 40 * 10**6)
    on_device = place.put("train", train)
    assert [tensor.device.type for tensor in on_device] == ["meta", "meta"]
    assert place.put("valid", train) is on_device and place.put("test", test) is test
    assert place.reasons == {
        "train": {"on_device": True, "reason": "it takes 7.0 MB, within the 10 MB left of 25% of the 40 MB free there"},
        "valid": place.reasons["train"],
        "test": {
            "on_device": False,
            "reason": "it takes 4.0 MB, more than the 3.0 MB left of 25% of the 40 MB free there",
        },
    }


def test_where_nobody_knows_how_much_is_free_the_data_stays() -> None:
    place, tensors = Placement(FAR), megabytes(2)
    assert place.put("train", tensors) is tensors
    assert place.reasons["train"] == {
        "on_device": False,
        "reason": "nobody can tell how much memory is free on meta",
    }


def test_on_the_cpu_there_is_nothing_to_decide() -> None:
    place, tensors = Placement(torch.device("cpu"), free=lambda device: 1), megabytes(2)
    assert place.put("train", tensors) is tensors and place.reasons == {}
    assert make().decisions["on_device"] == {}


def test_a_run_writes_down_where_each_of_its_sets_lies() -> None:
    section = DataConfig.model_validate({"train": {"type": "ToyImages"}, "valid": 0.2})
    decisions = standard(section, seed=0, device=FAR).decisions
    assert set(decisions["on_device"]) == {"train", "valid", "test"}
    assert decisions["on_device"]["valid"]["reason"].startswith("nobody can tell")


class Recorded:
    """Copies that note when they begin and end."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def begin(self, tensors: Any, indices: Tensor) -> Any:
        self.events.append(f"begin {len(self.events)}")
        return [tensor.index_select(0, indices) for tensor in tensors]

    def end(self, begun: Any) -> Any:
        self.events.append("end")
        return begun


def loader(copies: Any = None) -> InMemoryLoader:
    tensors = [torch.from_numpy(np.arange(10, dtype=np.uint8)), torch.arange(10)]
    to_float, nothing, cpu = Pipeline([ToFloat()], 0), Pipeline([], 0), torch.device("cpu")
    return InMemoryLoader(
        tensors, "ten", SequentialBatches(Ordered(10, 1), 3), SampleKeys(), to_float, nothing, cpu, copies
    )


@pytest.mark.parametrize("copies", [Recorded(), DevicePrefetcher(torch.device("cpu"))], ids=["recorded", "real"])
def test_copied_batches_are_those_that_lie_there(copies: Any) -> None:
    expected = list(loader().batches(2))
    assert equal(list(loader(copies).batches(2)), expected) and len(expected) == 4
    assert equal(list(loader(copies).batches(2, 1)), expected[1:])
    assert list(loader(copies).batches(2, 4)) == []


def test_the_next_copy_is_under_way_before_a_batch_is_given_out() -> None:
    copies = Recorded()
    batches, given = loader(copies).batches(), 0
    for _ in batches:
        given += 1
        begun = sum(event.startswith("begin") for event in copies.events)
        assert (begun, copies.events.count("end")) == (min(given + 1, 4), given)
    assert given == 4
