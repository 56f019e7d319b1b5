"""The promise of both paths: bit-equal batches, in memory or not, with however many workers, from any batch on."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from base.errors import DataError
from tests.data_loader.toy_sets import AUGMENTED, components, equal, make
from utils.seed import rng_state

WEIGHTED = {"type": "WeightedRandomSampler", "args": {"weights": [5.0] * 3 + [0.1] * 47, "num_samples": 60}}


def some(data: Any, pass_: int = 2, start: int = 0) -> list[Any]:
    return list(data.train.batches(pass_, start))


@pytest.mark.parametrize(
    "changes",
    [
        {"shuffle": False},
        {},
        {"drop_last": True},
        {"sampler": WEIGHTED},
        {"sampler": {"type": "ClassBalancedSampler"}},
        {"sampler": {"type": "Repeats", "args": {"share": 1.5}}},
        {"batch_sampler": {"type": "BatchSampler", "args": {"batch_size": 7, "drop_last": False}}},
    ],
    ids=["in order", "shuffled", "drop last", "weighted sampler", "balanced sampler", "own sampler", "batch sampler"],
)
def test_every_way_of_loading_gives_the_same_batches(changes: dict[str, Any]) -> None:
    common: dict[str, Any] = {
        "seed": 4,
        "transform": AUGMENTED,
        "target_transform": components(("OneHot", {"num_classes": 5}))[0],
    }
    in_memory = make(loader={"in_memory": True, **changes}, **common)
    expected = some(in_memory)
    assert len(expected) == len(in_memory.train) and sum(len(x) for x, _ in expected) == in_memory.train.size
    assert expected[0][0].dtype == torch.float32 and expected[0][1].shape[1] == 5
    for workers in (0, 2):
        loader = {"in_memory": False, "num_workers": workers, **changes}
        by_sample = make(loader=loader, **common)
        assert (len(by_sample.train), by_sample.train.size) == (len(in_memory.train), in_memory.train.size)
        assert equal(some(by_sample), expected)
        assert equal(some(by_sample, start=3), expected[3:])
    assert equal(some(in_memory, start=3), expected[3:])
    assert not equal(some(in_memory, pass_=3), expected)


@pytest.mark.parametrize("sampler", [WEIGHTED, {"type": "ClassBalancedSampler", "args": {"num_samples": 200}}])
def test_a_repeated_sample_is_augmented_anew(sampler: Any) -> None:
    data = make(loader={"sampler": sampler}, transform=AUGMENTED)
    inputs, targets = (torch.cat(parts) for parts in zip(*some(data), strict=True))
    of_one_class = inputs[targets == targets.mode().values].flatten(1)
    assert len(of_one_class) > 5 and len(of_one_class.unique(dim=0)) > len(of_one_class) / 2


def test_seed_decides_order_and_augmentation() -> None:
    first, again, other = (some(make(transform=AUGMENTED, seed=seed)) for seed in (0, 0, 1))
    assert equal(first, again) and not equal(first, other)
    assert torch.cat([y for _, y in first]).tolist() != torch.cat([y for _, y in other]).tolist()


@pytest.mark.parametrize("workers", [0, 2])
def test_foreign_transforms_and_data_sets_draw_by_pass_and_position(workers: int) -> None:
    random.seed(workers)
    np.random.seed(workers)
    torch.manual_seed(workers)
    before = rng_state()
    noisy = make("ToyNoise", transform=components("jitter"), loader={"num_workers": workers, "batch_size": 5})
    batches = some(noisy)
    assert equal(some(noisy, start=2), batches[2:]) and not equal(some(noisy, 3), batches)
    values = torch.cat([x for x, _ in batches])[:, :3]
    assert len(values.flatten().unique()) == values.numel()
    constant = make(
        "ToyWords", transform=components("jitter"), keys={"input": "target"}, loader={"num_workers": workers}
    )
    assert len(torch.cat([batch["target"] for batch in some(constant)]).unique()) == 10
    sampler = {"type": "SubsetRandomSampler", "args": {"indices": [3, 3, 3, 3]}}
    ((repeated, _),) = some(make("ToyNoise", loader={"num_workers": workers, "sampler": sampler}))
    assert len(repeated[:, 0].unique()) == 4
    assert equal(rng_state(), before)
    plain = make("ToyNoise", transform=components("jitter"), loader={"batch_size": 5})
    assert equal(some(plain), batches)


def test_torchvisions_transforms_are_repeatable_too() -> None:
    transform = components(("RandomResizedCrop", {"size": [6, 6], "antialias": True}), "ToFloat", ("GaussianNoise", {}))
    data = [make(transform=transform, loader={"num_workers": workers}) for workers in (0, 2)]
    assert not data[0].decisions["in_memory"]["train"]["in_memory"]
    expected = some(data[0])
    assert equal(some(data[1], start=4), expected[4:]) and expected[0][0].shape == (8, 1, 6, 6)


def test_kept_workers_serve_one_pass_after_another_even_if_one_was_left_halfway() -> None:
    plain = make(transform=AUGMENTED, loader={"in_memory": False})
    kept = make(transform=AUGMENTED, loader={"in_memory": False, "num_workers": 2, "persistent_workers": True})
    assert equal(some(kept, 0), some(plain, 0))
    next(kept.train.batches(1, 2))
    assert equal(some(kept, 5, 1), some(plain, 5, 1)) and equal(some(kept, 6), some(plain, 6))


@pytest.mark.parametrize("context", ["forkserver"])
def test_what_a_worker_gets_can_be_pickled(context: str) -> None:
    loader = {"num_workers": 1, "multiprocessing_context": context, "batch_size": 25, "collate_fn": {"type": "as_sets"}}
    transform = [*components("jitter"), *AUGMENTED]
    expected = make(transform=transform, loader={"batch_size": 25, "collate_fn": {"type": "as_sets"}}, valid=0.2)
    data = make(transform=transform, loader=loader, valid=0.2)
    assert equal(some(data), some(expected))


def test_dicts_of_texts_and_nested_values_are_collated_as_torch_does() -> None:
    data = make(
        "ToyWords",
        loader={"shuffle": False, "batch_size": 4},
        keys={"target": "target"},
        target_transform={"type": "less_one"},
    )
    batch = some(data)[0]
    assert batch["text"] == [f"word {i}" for i in range(4)] and batch["target"].tolist() == [-1, 0, -1, 0]
    left, right = batch["nested"]["pair"]
    assert left.shape == (4, 3) and right.tolist() == [0, 0.5, 1, 1.5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_set_that_reads_several_at_once_is_asked_to(workers: int) -> None:
    loader = {"num_workers": workers, "shuffle": False}
    data = make("ToyTogether", loader=loader)
    batches = some(data)
    assert torch.cat([x for x, _ in batches])[:, 0].tolist() == list(range(20))
    drawn = torch.cat([x for x, _ in batches])[:, 1]
    assert len(drawn.unique()) == 3  # one draw for each call
    assert equal(some(data, start=1), batches[1:]) and not equal(some(data, 3), batches)
    assert equal(some(make("ToyTogether", loader={"shuffle": False})), batches)


def test_one_that_fails_among_several_read_at_once_is_named() -> None:
    with pytest.raises(DataError, match=r"ToyTogether \(train\): sample 11: KeyError: 'no such row'"):
        some(make("ToyTogether", {"broken": 11}, loader={"shuffle": False}))
    data = make("ToyTogether", {"broken": 11}, loader={"shuffle": False}, on_error="skip")
    assert [len(y) for _, y in some(data)] == [8, 7, 4]


def test_named_tuples_stay_what_they_are() -> None:
    data = make("ToyNamed", transform=components("ToFloat"), target_transform={"type": "less_one"})
    batch = some(data)[0]
    assert type(batch).__name__ == "Named" and batch.image.dtype == torch.float32 and batch.label.min() >= -1


def test_transforms_apply_to_the_parts_that_keys_name() -> None:
    swapped = make(
        keys={"input": 1, "target": 0},
        transform=components(("OneHot", {"num_classes": 5})),
        eval_transform=components(("OneHot", {"num_classes": 5})),
    )
    image, target = some(swapped)[0]
    assert image.dtype == torch.uint8 and target.shape == (8, 5)
    by_sample = make(
        keys={"input": 1, "target": 0},
        transform=components(("OneHot", {"num_classes": 5})),
        loader={"in_memory": False},
    )
    assert equal(some(by_sample), some(swapped))


def test_evaluation_is_in_order_whole_and_without_augmentation() -> None:
    data = make(
        transform=AUGMENTED,
        eval_transform=components("ToFloat"),
        loader={"drop_last": True, "batch_size": 8, "eval_batch_size": 11},
        valid={"type": "ToyImages", "args": {"train": False}},
    )
    batches = list(data.valid[""].batches())
    assert [len(y) for _, y in batches] == [11, 11, 11, 11, 6]
    assert torch.cat([y for _, y in batches]).tolist() == (torch.arange(50) % 5).tolist()
    assert equal(list(data.valid[""].batches(7)), batches)


def test_a_batch_is_no_window_on_the_data_itself() -> None:
    for in_memory in (True, False):
        data = make(loader={"in_memory": in_memory, "shuffle": False, "batch_size": 1})
        batch = next(data.train.batches())
        before = batch[0].clone()
        batch[0].zero_()
        assert equal(next(data.train.batches())[0], before)
