"""Orders and batches as functions of (seed, pass)."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from torch.utils.data import BatchSampler, RandomSampler, WeightedRandomSampler

from data_loader.samplers import BatchOrder, Ordered, Sampled, SampledBatches, SequentialBatches


def all_batches(batching: BatchOrder, pass_: int = 0, start: int = 0) -> list[tuple[int, list[int]]]:
    return [(first, indices.tolist()) for first, indices in batching.batches(pass_, start)]


def test_a_shuffled_pass_is_a_permutation_that_seed_and_pass_decide() -> None:
    order = Ordered(100, 3)
    assert sorted(order(0).tolist()) == list(range(100))
    assert torch.equal(order(5), Ordered(100, 3)(5))
    assert not torch.equal(order(5), order(6)) and not torch.equal(order(5), Ordered(100, 4)(5))


@pytest.mark.parametrize(("drop_last", "size", "count"), [(False, 10, 3), (True, 8, 2)])
def test_batches_follow_the_order_with_their_positions(drop_last: bool, size: int, count: int) -> None:
    batching = SequentialBatches(Ordered(10), 4, drop_last)
    expected = [(0, [0, 1, 2, 3]), (4, [4, 5, 6, 7]), (8, [8, 9])][:count]
    assert (batching.size, len(batching)) == (size, count)
    assert all_batches(batching) == expected and all_batches(batching, start=1) == expected[1:]
    assert all_batches(batching, start=count) == []


def test_drop_last_may_leave_nothing() -> None:
    assert len(SequentialBatches(Ordered(3), 4, drop_last=True)) == 0


SAMPLERS: dict[str, Any] = {
    "random": lambda: RandomSampler(range(30)),
    "weighted": lambda: WeightedRandomSampler([1.0] * 3 + [0.0] * 27, 40),
    "python": lambda: random.choices(range(30), k=7),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_draws_by_seed_and_pass_and_leaves_no_trace(name: str) -> None:
    order = Sampled(SAMPLERS[name], 30, 1)
    before = torch.get_rng_state(), random.getstate()
    third = order(3)
    assert len(third) == order.size == {"random": 30, "weighted": 40, "python": 7}[name]
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert not torch.equal(order(4), third) and not torch.equal(Sampled(SAMPLERS[name], 30, 2)(3), third)
    torch.manual_seed(99)
    random.seed(99)
    assert torch.equal(Sampled(SAMPLERS[name], 30, 1)(3), third)


def test_a_batch_sampler_gives_batches_of_its_own_sizes_with_running_positions() -> None:
    batching = SampledBatches(lambda: BatchSampler(RandomSampler(range(7)), 3, drop_last=False), 7, 64, 0)
    assert (batching.size, len(batching)) == (7, 3)
    whole = all_batches(batching, 2)
    assert [first for first, _ in whole] == [0, 3, 6] and sorted(i for _, batch in whole for i in batch) == list(
        range(7)
    )
    assert all_batches(batching, 2, start=2) == whole[2:] and all_batches(batching, 1) != whole


def test_a_part_is_told_in_indices_of_the_whole() -> None:
    members = torch.tensor([10, 20, 30])
    part = SequentialBatches(Ordered(3), 2, members=members)
    assert (part.size, part.batch_size, len(part)) == (3, 2, 2)
    assert all_batches(part, start=1) == [(2, [30])] and all_batches(part)[0] == (0, [10, 20])
    sampled = SampledBatches(lambda: [[2, 0], [1]], 3, 2, 0, members)
    assert all_batches(sampled) == [(0, [30, 10]), (2, [20])] and all_batches(sampled, start=1) == [(2, [20])]
