"""Classes drawn equally often, by seed and pass, in parts of a dataset too; and a run with it resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from base import fit
from base.errors import DataError
from data_loader.samplers import ClassBalancedSampler
from tests.data_loader.toy_sets import make
from tests.small_run import assert_same_run, small_config, stopped_and_resumed, write_garments


def test_rare_classes_come_as_often_as_common_ones_and_every_sample_of_a_class_alike() -> None:
    targets = torch.tensor([7] * 90 + [2] * 9 + [4])[torch.randperm(100, generator=torch.Generator().manual_seed(0))]
    torch.manual_seed(0)
    sampler = ClassBalancedSampler(targets, 30_000)
    drawn = torch.tensor(list(sampler))
    assert len(sampler) == len(drawn) == 30_000 and len(ClassBalancedSampler(targets)) == 100
    counts = torch.bincount(targets[drawn])
    assert counts[[2, 4, 7]].sum() == 30_000 and ((counts[[2, 4, 7]] - 10_000).abs() < 330).all()  # four deviations
    of_seven = torch.bincount(drawn, minlength=100)[targets == 7]
    assert of_seven.min() > 65 and of_seven.max() < 165  # 111 each


def test_of_a_part_only_its_own_samples_are_drawn() -> None:
    data = make(valid=0.4, loader={"sampler": {"type": "ClassBalancedSampler", "args": {"num_samples": 400}}})
    members = data.train.batching.members  # type: ignore[attr-defined]
    drawn = torch.cat([indices for _, indices in data.train.batching.batches(0, 0)])  # type: ignore[attr-defined]
    assert len(drawn) == data.train.size == 400 and set(drawn.tolist()) == set(members.tolist())
    again = torch.cat([indices for _, indices in data.train.batching.batches(1, 0)])  # type: ignore[attr-defined]
    assert not torch.equal(drawn, again)


def test_it_needs_classes_and_something_to_draw() -> None:
    with pytest.raises(ValueError, match="num_samples must be 1 or more, found 0"):
        ClassBalancedSampler(torch.tensor([0]), 0)
    with pytest.raises(
        DataError, match=r"ToyNoClasses: expected class numbers as targets, found torch.float32 of shape"
    ):
        make("ToyNoClasses", loader={"sampler": {"type": "ClassBalancedSampler"}})


def test_a_run_that_draws_samples_again_and_again_resumes_to_the_same_bits(tmp_path: Path) -> None:
    write_garments(tmp_path / "data", train=150, test=20)
    changes = {
        "data__loader__sampler": {"type": "ClassBalancedSampler"},
        "data__loader__batch_size": 32,
        "data__valid": 20,
        "data__transform__train": [{"type": "RandomCrop", "args": {"size": 28, "padding": 2}}, {"type": "ToFloat"}],
        "trainer__epochs": 2,
    }
    whole = fit(small_config(tmp_path / "whole", tmp_path / "data", **changes))
    assert_same_run(stopped_and_resumed(small_config(tmp_path / "cut", tmp_path / "data", **changes), 2, 6), whole)
