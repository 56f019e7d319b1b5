"""Means of losses: exact, the same however often somebody looks, and restored in the middle of a block."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from base.loop.metrics import BLOCK, LossAverager


def losses(count: int) -> list[tuple[dict[str, torch.Tensor], int]]:
    values = torch.rand(count, generator=torch.Generator().manual_seed(0))
    return [({"loss": value, "part": value / 3}, 64 if i % 5 else 17) for i, value in enumerate(values)]


def filled(batches: list[Any]) -> LossAverager:
    tally = LossAverager()
    for terms, size in batches:
        tally.add(terms, size)
    return tally


def test_means_weigh_by_size() -> None:
    batches = losses(2 * BLOCK + 9)
    total = sum(size for _, size in batches)
    means = filled(batches).means()
    assert means["loss"] == pytest.approx(
        sum(float(terms["loss"]) * size for terms, size in batches) / total, rel=1e-12
    )
    assert means["part"] == pytest.approx(means["loss"] / 3, rel=1e-6)


def test_a_lap_begins_anew_and_the_epoch_keeps_all() -> None:
    batches = losses(150)
    tally = filled(batches[:100])
    assert tally.lap() == filled(batches[:100]).means()
    for terms, size in batches[100:]:
        tally.add(terms, size)
    assert tally.lap() == filled(batches[100:]).means()
    assert tally.count == sum(size for _, size in batches)
    assert tally.means()["loss"] == pytest.approx(filled(batches).means()["loss"], rel=1e-12)


def test_looking_and_saving_change_no_bit() -> None:
    batches = losses(3 * BLOCK + 5)
    undisturbed, disturbed = filled(batches), LossAverager()
    for terms, size in batches:
        disturbed.add(terms, size)
        disturbed.means()
        state = disturbed.state_dict()
        disturbed = LossAverager()
        disturbed.load_state_dict(state)
    assert disturbed.means() == undisturbed.means()
    assert disturbed.lap() == undisturbed.lap()


def test_a_loss_keeps_no_graph_alive() -> None:
    weight = torch.ones(3, requires_grad=True)
    tally = filled([({"loss": (weight * 2).sum()}, 1)])
    assert not tally.state_dict()["lap"]["waiting"]["loss"][0].requires_grad


def test_many_small_losses_keep_their_digits() -> None:
    tally = filled([({"loss": torch.tensor(0.1)}, 1)] * 100_000)
    assert tally.means()["loss"] == pytest.approx(float(torch.tensor(0.1)), rel=1e-14)


def test_a_term_that_is_a_parameter_is_taken_as_it_was() -> None:
    temperature = torch.tensor(1.0, requires_grad=True)
    tally = filled([({"temperature": temperature}, 1)])
    with torch.no_grad():
        temperature.add_(5)  # as an optimizer does, in place
    assert tally.means() == {"temperature": 1.0}
