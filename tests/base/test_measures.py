"""Metrics fed in blocks give what they give batch by batch, and go on from the middle of a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from base.errors import MetricError
from base.loop.counts import Ratio
from base.loop.metrics import BATCHES, BYTES, Mean, Metric, MetricCollection


def squared(output: Tensor, target: Tensor) -> Tensor:
    return (output[:, 0] - target) ** 2


def batch_mean(output: Tensor, target: Tensor) -> float:
    return float((output[:, 0] - target).abs().max())


class Calls(Metric):
    """How many batches it was given, and of which sizes."""

    def reset(self) -> None:
        self.sizes: list[int] = []

    def update(self, output: Any, target: Any) -> None:
        self.sizes = [*self.sizes, len(target)]

    def compute(self) -> float:
        return float(len(self.sizes))


class CallsInBlocks(Calls):
    in_blocks = True


def batches(count: int, size: int = 8, columns: int = 3) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.rand(size, columns, generator=generator), torch.rand(size, generator=generator)) for _ in range(count)
    ]


def fed(measures: MetricCollection, pairs: list[tuple[Tensor, Tensor]]) -> MetricCollection:
    for output, target in pairs:
        measures.feed(output, target)
    return measures


def test_many_batches_become_one_update_where_that_changes_nothing() -> None:
    measures = fed(MetricCollection({"each": Calls(), "blocks": CallsInBlocks()}), batches(BATCHES + 6))
    assert measures.compute() == {"each": BATCHES + 6, "blocks": 2}
    assert measures["blocks"].sizes == [BATCHES * 8, 6 * 8]


def test_a_block_of_large_outputs_ends_early() -> None:
    measures = fed(MetricCollection({"blocks": CallsInBlocks()}), batches(4, size=2, columns=BYTES // 16))
    assert measures["blocks"].sizes == [4, 4]


def test_a_block_of_large_targets_ends_early() -> None:
    measures = MetricCollection({"blocks": CallsInBlocks()})
    for _ in range(4):
        measures.feed(torch.zeros(2, 1), torch.zeros(2, BYTES // 16))
    assert measures["blocks"].sizes == [4, 4]


def test_a_mean_takes_scores_of_any_shape_and_ratios() -> None:
    """(B, T) scores count by positions, a Ratio by what it says, one number by the samples, whatever the target is."""
    target = {"a": torch.zeros(2), "b": torch.zeros(2), "c": torch.zeros(2)}
    two_d, ratio, number = Mean(lambda o, t: o), Mean(lambda o, t: Ratio(o.sum(), 3)), Mean(lambda o, t: o.max())
    for output in (torch.ones(2, 3), torch.zeros(2, 1)):
        for mean in (two_d, ratio, number):
            mean.update(output, target)
    assert (two_d.compute(), ratio.compute(), number.compute()) == (6 / 8, 6 / 6, 1 / 2)
    assert number.count == 4


def test_the_values_are_those_of_one_large_batch() -> None:
    pairs = batches(3 * BATCHES // 2)
    whole = torch.cat([squared(*pair).double() for pair in pairs]).mean()
    values = fed(MetricCollection({"squared": Mean(squared), "batch": Mean(batch_mean)}), pairs).compute()
    assert abs(values["squared"] - whole.item()) < 1e-7
    assert values["batch"] == sum(batch_mean(*pair) for pair in pairs) / len(pairs)


def test_batches_of_another_shape_or_kind_are_taken() -> None:
    measures = MetricCollection({"blocks": CallsInBlocks()})
    fed(measures, [*batches(2), *batches(1, size=5), *batches(1, columns=4)])
    measures.feed({"logits": torch.rand(3, 2)}, torch.rand(3))
    measures.compute()
    assert sorted(measures["blocks"].sizes) == [3, 8, 21]


def test_what_waits_is_forgotten_with_the_rest() -> None:
    measures = fed(MetricCollection({"squared": Mean(squared)}), batches(5))
    measures.reset()
    fed(measures, batches(1))
    assert measures.compute() == fed(MetricCollection({"squared": Mean(squared)}), batches(1)).compute()


def test_a_restored_block_goes_on_bit_for_bit() -> None:
    pairs = batches(2 * BATCHES + 11)
    undisturbed = fed(MetricCollection({"squared": Mean(squared)}), pairs).compute()
    for stop in (1, 2, BATCHES - 1, BATCHES + 1, 2 * BATCHES + 10):
        state = fed(MetricCollection({"squared": Mean(squared)}), pairs[:stop]).state_dict()
        resumed = MetricCollection({"squared": Mean(squared)})
        resumed.load_state_dict(state)
        assert fed(resumed, pairs[stop:]).compute() == undisturbed


def test_what_waits_is_taken_as_it_was() -> None:
    """A model that gives a parameter out, and a loader that fills the same memory anew for each batch."""
    output, target = torch.zeros(4, 1), torch.ones(4)
    measures = MetricCollection({"squared": Mean(squared)})
    for _ in range(3):  # the first batch shows what the metric gives, those after it wait
        measures.feed(output, target)
    output += 7
    target += 7
    assert measures.compute() == {"squared": 1.0}
    output += 7
    measures.feed(output, target)
    output.zero_()
    assert measures.compute()["squared"] == (3 * 1.0 + (14.0 - 8.0) ** 2) / 4


def kept(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The error over what is above a half, and how much is."""
    right = target > 0.5
    return ((output[:, 0] - target).abs() * right).sum(), right.sum()


def test_a_function_may_give_a_sum_and_a_count() -> None:
    pairs = batches(7)
    measures = fed(MetricCollection({"tuple": Mean(kept), "ratio": Mean(lambda o, t: Ratio(*kept(o, t)))}), pairs)
    outputs, targets = (torch.cat(tensors) for tensors in zip(*pairs, strict=True))
    total, count = kept(outputs, targets)
    assert count < len(targets)
    assert measures.compute() == {
        "tuple": pytest.approx(float(total / count)),
        "ratio": pytest.approx(float(total / count)),
    }


def test_any_other_tuple_is_refused() -> None:
    def several(output: Tensor, target: Tensor) -> tuple[Tensor, int]:
        return output, 3

    with pytest.raises(
        MetricError, match=r"several: a tuple is a sum and a count, one number each; found \(\(2, 3\), 3\)$"
    ):
        Mean(several).update(torch.ones(2, 3), torch.ones(2))


def test_called_on_one_batch_a_metric_gives_its_value_and_counts_nothing() -> None:
    from base.registry import METRICS

    metric = METRICS.get("accuracy")()
    metric.update(torch.eye(4), torch.arange(4))
    assert metric(torch.eye(4), torch.tensor([0, 1, 0, 0])) == 0.5
    assert metric.compute() == 1
    fresh = METRICS.get("accuracy")()
    assert fresh(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 1.0])) == 0.5
    fresh.update(torch.eye(3), torch.arange(3))  # the call decided no task
    first, sharing = METRICS.get("recall")(), METRICS.get("f1")(average="none")
    sharing.share(first)
    first.update(torch.eye(2), torch.tensor([0, 1]))
    assert sharing(torch.eye(2), torch.tensor([0, 0])).tolist() == [pytest.approx(2 / 3), 0.0]
    assert sharing.compute().tolist() == [1, 1]
