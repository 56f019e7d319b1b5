"""Compares the loss of a run's first batch with the losses of its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from base.checkpoint.forward_state import ForwardState
from base.loop.components import one_number_each, summed
from base.loop.counts import SampleSum, checked, of_term
from utils.batches import size_of, sliced
from utils.seed import rng_state, set_rng_state

log = logging.getLogger(__name__)


def compare_with_parts(trainer: Any, output: Any, target: Any, batch: Any) -> None:
    """Warns of a loss of a Trainer that is no mean over what counts: that of the batch is not the mean of the losses of
    its first third and of the rest. Takes a tensor for the output and one for the target, with a row for each sample,
    and passes over others. What the losses change is put back."""
    size = size_of(batch)
    if size < 3 or not all(isinstance(one, Tensor) and one.shape[:1] == (size,) for one in (output, target)):
        return
    undo, random = ForwardState(trainer.models.values(), trainer.criteria.values()), rng_state()
    attributes = dict(vars(trainer))
    try:
        with torch.no_grad(), trainer.precision.autocast():
            found = _difference(trainer, output.detach(), target, batch, size)
    finally:
        vars(trainer).clear()
        vars(trainer).update(attributes)
        undo()
        set_rng_state(random)
    if found:
        log.warning(
            "the loss %s of the first batch is not the mean of its parts' losses (%.2g off), so what is learned and "
            "logged depends on the batch size; if it is a mean over less or more than the samples, give the loss a "
            "method count(target), or the trainer count(batch), that returns over how much",
            *found,
        )


def _difference(trainer: Any, output: Tensor, target: Tensor, batch: Any, size: int) -> tuple[str, float] | None:
    """The name of a loss that differs, and how much, relative to it."""

    third, everything = size // 3, slice(size)
    rows = (everything, everything, slice(third), slice(third, size))
    parts = [sliced(batch, its, size) for its in rows]
    losses = [trainer.compute_loss(output[i], target[i], part) for i, part in zip(rows, parts, strict=True)]
    terms = [summed(loss) if isinstance(loss, Mapping) else one_number_each({"loss": loss}) for loss in losses]
    counts = [checked(trainer.count(part)) for part in parts]
    bound = 1e-5 if output.dtype in (torch.float32, torch.float64) else 2e-2
    for name in terms[0].parts or ("loss",):
        numbers = [its.counts.get(name, of_term(count, name, 0)) for its, count in zip(terms, counts, strict=True)]
        values = [_sum_and_count(its.get(name), number) for its, number in zip(terms, numbers, strict=True)]
        if any(value is None for value in values):  # a loss that only some batches have
            continue
        (total, count), (repeated, _), (one, one_count), (other, other_count) = values  # type: ignore[misc]
        together = one + other
        scale = max(abs(total), abs(together), 1e-12)
        random = abs(repeated - total) > bound * scale  # drawn anew, or by what the loss has counted
        if not random and not abs(total - together) + abs(count - one_count - other_count) <= bound * scale:
            return repr(name), abs(total - together) / scale
    return None


def _sum_and_count(loss: Tensor | None, count: Any) -> tuple[float, float] | None:
    if loss is None:
        return None
    number, value = float(count), float(loss)
    return (value if isinstance(count, SampleSum) else value * number if number else 0.0), number
