"""Means of losses: exact, the same however often somebody looks or saves, and those that a save of format 1 holds."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from base.checkpoint.format_1 import losses_of_format_1
from base.loop.counts import Terms
from base.loop.metrics import LossMeans


def losses(count: int) -> list[tuple[dict[str, torch.Tensor], int]]:
    values = torch.rand(count, generator=torch.Generator().manual_seed(0))
    return [({"loss": value, "part": value / 3}, 64 if i % 5 else 17) for i, value in enumerate(values)]


def filled(batches: list[Any]) -> LossMeans:
    means = LossMeans()
    for terms, size in batches:
        means.add(Terms(terms), size, size)
    return means


def test_means_weigh_by_size() -> None:
    batches = losses(2 * 64 + 9)
    total = sum(size for _, size in batches)
    means = filled(batches).means()
    assert means["loss"] == pytest.approx(
        sum(float(terms["loss"]) * size for terms, size in batches) / total, rel=1e-12
    )
    assert means["part"] == pytest.approx(means["loss"] / 3, rel=1e-6)


def test_a_lap_begins_anew_and_the_epoch_keeps_all() -> None:
    batches = losses(150)
    means = filled(batches[:100])
    assert means.since_logged() == filled(batches[:100]).means()
    for terms, size in batches[100:]:
        means.add(Terms(terms), size, size)
    assert means.since_logged() == filled(batches[100:]).means()
    assert means.samples == sum(size for _, size in batches)
    assert means.means()["loss"] == pytest.approx(filled(batches).means()["loss"], rel=1e-12)


def test_looking_and_saving_change_no_bit() -> None:
    batches = losses(3 * 64 + 5)
    undisturbed, disturbed = filled(batches), LossMeans()
    for terms, size in batches:
        disturbed.add(Terms(terms), size, size)
        disturbed.means()
        state = disturbed.state_dict()
        disturbed = LossMeans()
        disturbed.load_state_dict(state)
    assert disturbed.means() == undisturbed.means()
    assert disturbed.since_logged() == undisturbed.since_logged()


def test_many_small_losses_keep_their_digits() -> None:
    means = filled([({"loss": torch.tensor(0.1)}, 1)] * 100_000)
    assert means.means()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-14)


def test_a_term_that_is_a_parameter_is_taken_as_it_was() -> None:
    temperature = torch.tensor(1.0, requires_grad=True)
    means = filled([({"temperature": temperature}, 1)])
    with torch.no_grad():
        temperature.add_(5)  # as an optimizer does, in place
    assert means.means() == {"temperature": 1.0}


def test_what_format_1_saved_goes_on_where_all_counted_by_samples() -> None:
    waiting = {"loss": [torch.tensor([0.5, 1.5]), [4, 2]]}
    before = {"sums": {"loss": torch.tensor(8.0, dtype=torch.float64)}, "count": 10, "waiting": {}}
    means = LossMeans()
    means.load_state_dict(losses_of_format_1({"before": before, "lap": {"sums": {}, "count": 6, "waiting": waiting}}))
    assert means.samples == 16 and means.means() == {"loss": (8 + 0.5 * 4 + 1.5 * 2) / 16}
    assert means.since_logged() == {"loss": (0.5 * 4 + 1.5 * 2) / 6}


def test_numbers_on_an_accelerator_are_read_only_when_asked_for() -> None:
    """The meta device has no numbers at all."""
    means = LossMeans()
    for _ in range(70):
        means.add(Terms(loss=torch.zeros((), device="meta")), torch.ones((), device="meta"), 4)
    assert means.samples == 280
    with pytest.raises(NotImplementedError):
        means.means()
