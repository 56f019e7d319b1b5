"""Parts set aside: disjoint, seeded, and in proportion when asked for."""

from __future__ import annotations

import pytest
import torch

from data_loader.open_datasets import split_indices


@pytest.mark.parametrize("stratify", [False, True])
@pytest.mark.parametrize(("size", "share", "count"), [(2, 0.01, 1), (300, 0.5, 150), (301, 0.333, 100), (10, 0.94, 9)])
def test_parts_are_disjoint_and_complete(size: int, share: float, count: int, stratify: bool) -> None:
    labels, seed = torch.arange(size) % 3 if stratify else None, size
    parts = split_indices(size, {"valid": share}, seed, labels)
    assert list(parts) == ["train", "valid"] and len(parts["valid"]) == count
    assert torch.cat(list(parts.values())).sort().values.tolist() == list(range(size))
    for part in parts.values():
        assert part.dtype == torch.int64 and (part.diff() > 0).all()


def test_several_shares_and_counts_do_not_overlap() -> None:
    parts = split_indices(100, {"valid_a": 0.1, "valid_b": 25, "valid_c": 1}, 0)
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 64,
        "valid_a": 10,
        "valid_b": 25,
        "valid_c": 1,
    }
    assert len(torch.cat(list(parts.values())).unique()) == 100


def test_the_seed_decides_the_split() -> None:
    first, again, other = (split_indices(100, {"valid": 20}, seed)["valid"] for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_a_stratified_split_keeps_the_share_of_each_class() -> None:
    labels = torch.tensor([0] * 50 + [1] * 300 + [7] * 650)[torch.randperm(1000)]
    parts = split_indices(1000, {"valid": 0.1, "valid_b": 200}, 3, labels)
    for name, expected in (("valid", (5, 30, 65)), ("valid_b", (10, 60, 130))):
        counts = torch.bincount(labels[parts[name]])[[0, 1, 7]].tolist()
        assert all(abs(count - wanted) <= 1 for count, wanted in zip(counts, expected, strict=True))
    other = split_indices(1000, {"valid": 0.1}, 4, labels)
    assert not torch.equal(parts["valid"], other["valid"])


def test_taking_everything_is_refused() -> None:
    with pytest.raises(ValueError, match="100 of 100 samples are set aside, which leaves none to train on"):
        split_indices(100, {"valid": 40, "valid_b": 0.6}, 0)
