"""Metrics of each class, held against torchmetrics; one matrix for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from base import fit
from base.registry import METRICS
from model.metrics import F1, ClassCounts
from tests.small_run import assert_same_run, rows, small_config, stopped_and_resumed


def batches() -> list[tuple[Tensor, Tensor]]:
    """Five classes, of which the last never occurs and the fourth is never predicted."""
    generator = torch.Generator().manual_seed(0)
    outputs = torch.randn(90, 5, generator=generator)
    outputs[:, 3:] -= 9
    targets = torch.randint(0, 4, (90,), generator=generator)
    return [(outputs[:32], targets[:32]), (outputs[32:], targets[32:])]


@pytest.mark.parametrize("average", ["macro", "weighted", "none"])
@pytest.mark.parametrize("name", ["precision", "recall", "f1"])
def test_they_agree_with_torchmetrics(name: str, average: Any) -> None:
    from torchmetrics import functional

    metric = METRICS.get(name)(average=average)
    for output, target in batches():
        metric.update(output, target)
    theirs = getattr(functional, {"f1": "f1_score"}.get(name, name))
    output, target = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    expected = theirs(output, target, task="multiclass", num_classes=5, average=average)
    assert torch.allclose(metric.compute().float(), expected)


@pytest.mark.parametrize("dtype", [getattr(torch, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32)])
@pytest.mark.parametrize("name", ["precision", "recall", "f1", "accuracy", "top_k_accuracy"])
def test_targets_may_be_integers_of_any_width(name: str, dtype: torch.dtype) -> None:
    """A perfect model of 40 classes scores 1: class numbers of 8 bits do not wrap."""
    metric = METRICS.get(name)
    metric = metric()
    metric.update(torch.eye(40), torch.arange(40).to(dtype))
    assert float(metric.compute()) == 1.0


def test_several_count_once_and_resume_bit_exactly(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = ["accuracy", "precision", "recall", {"type": "f1", "args": {"average": "none"}}]
    changes = {"metrics": metrics, "trainer__monitor": "max val_f1_3", "trainer__non_finite": "skip"}
    calls = []
    add = ClassCounts.add
    monkeypatch.setattr(
        ClassCounts, "add", lambda self, read, count: (calls.append(len(read.true)), add(self, read, count))
    )
    whole = fit(small_config(tmp_path / "whole", garments, **changes))
    assert sum(calls) == 3 * (256 + 64) + 64  # each sample once: epochs, their validation, the dry run
    row = rows(whole)[1]
    assert {"precision", "recall", "f1_0", "f1_9", "val_recall", "val_f1_3"} <= row.keys()
    assert row["val_recall"] == pytest.approx(row["val_accuracy"], abs=0.2)
    assert whole.best == max(row["val_f1_3"] for row in rows(whole)[1:-1])
    assert_same_run(whole, stopped_and_resumed(small_config(tmp_path / "parts", garments, **changes), 6))


class WithoutFloat64(Tensor):
    """As on MPS, where a tensor stays as long as it is not moved."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is Tensor.double:
            raise TypeError("MPS has no float64")
        return super().__torch_function__(function, types, args, kwargs or {})


def test_scores_need_no_float64_on_the_device() -> None:
    metric, plain = F1(), F1()
    output, target = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 3
    plain.update(output, target)
    metric.update(output.as_subclass(WithoutFloat64), target.as_subclass(WithoutFloat64))
    assert float(metric.compute()) == float(plain.compute())
