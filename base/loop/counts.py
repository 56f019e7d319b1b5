"""What counts in a batch: the denominators of the losses' means, known from the targets before the first backward."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from base.errors import NotFiniteError, UserError, listing

Rule = Callable[[Any, int], Any]
"""Gives the count of a batch by its target and its samples: a number, or one for each named term."""

KEPT = (nn.CrossEntropyLoss, nn.NLLLoss, nn.LinearCrossEntropyLoss)
"""The losses of torch whose mean is over what their targets keep; all others of torch take it over the samples."""


class SampleSum(int):
    """The samples of a loss that is their sum: it is learned as it is, and divided only where it is logged."""


@dataclass(frozen=True)
class Ratio:
    """What a loss may return whose count is known only after the forward pass: the sum, and how much counts in it."""

    sum: Tensor
    count: Any

    @property
    def mean(self) -> Tensor:
        """The sum itself, 0, where nothing counts: a division by 0 would spoil the gradient."""
        count = self.count
        return self.sum / (torch.where(count == 0, 1, count) if isinstance(count, Tensor) else count or 1)

    def __rmul__(self, weight: float) -> Ratio:
        return Ratio(weight * self.sum, self.count)


class Terms(dict[str, Tensor]):
    """The mean losses of a batch by name, of which `loss` is learned from."""

    parts: Sequence[str] = ()
    """The names of those that `loss` is the sum of."""
    counts: Mapping[str, Any] = {}
    """What counts in those whose count is known only after the forward pass."""


def rule_of(loss: Any) -> Rule | None:
    """How a loss counts. None: by samples."""
    if hasattr(loss, "rule"):  # put together from others
        found: Rule | None = loss.rule()
        return found
    own = getattr(loss, "count", None)
    if callable(own):
        return lambda target, size: own(target)
    if not isinstance(loss, nn.Module) or not type(loss).forward.__module__.startswith("torch."):
        return None
    if getattr(loss, "reduction", "mean") == "sum":
        return lambda target, size: SampleSum(size)
    return (lambda target, size: _kept(loss, target, size)) if isinstance(loss, KEPT) else None


def _kept(loss: Any, target: Tensor, size: int) -> Any:
    """The summed weights of the targets that are not ignored; soft targets are all kept, and their weights are no part
    of the mean's denominator."""
    if target.is_floating_point():
        return size
    ignored = -100 if loss.ignore_index is None else loss.ignore_index
    if loss.weight is None:
        return (target != ignored).count_nonzero()
    # One kernel for any shape: each kept target adds its class's weight times -(-1). Float32 loses digits of millions.
    weight = loss.weight.to(torch.float32 if target.device.type == "mps" else torch.float64)
    minus = weight.new_full((), -1.0).expand(target.numel(), len(weight))
    return nn.functional.nll_loss(minus, target.flatten(), weight, ignore_index=ignored, reduction="sum")


def checked(count: Any) -> Any:
    """A count as the loop takes it: Python numbers, or on an accelerator scalars that nobody has to wait for, alone or
    by the terms' names. UserError if it is none."""
    if type(count) is int and count >= 0:
        return count
    if isinstance(count, Mapping):
        return {name: checked(one) for name, one in count.items()}
    if isinstance(count, Tensor) and count.numel() == 1:
        count = count.detach().reshape(())
        if count.device.type != "cpu":
            return count
        count = count.item()
    if not isinstance(count, Real) or not 0 <= float(count) < math.inf:
        found = f"a tensor of shape {tuple(count.shape)}" if isinstance(count, Tensor) else repr(count)
        raise UserError(f"count(...) of the loss or the trainer: found {found}, expected a number from 0 on")
    return count if isinstance(count, int | float) else float(count)


def of_term(count: Any, name: str, size: int) -> Any:
    """What counts in the term of this name, by what a trainer's `count` gave for a batch of `size` samples."""
    return count.get(name, size) if isinstance(count, Mapping) else count


class Window:
    """The batches of one optimizer step. A batch is learned by its share of what counts in the window, each term by its
    own, so that the gradient is that of one large batch.

    `counts` are what the trainer's `count` gave for each batch, `sizes` their samples.
    """

    def __init__(self, counts: Sequence[Any], sizes: Sequence[int]) -> None:
        self.counts, self.sizes = counts, sizes
        self._totals: dict[str, Any] = {}
        self._late_guess: Tensor | None = None
        self._late_total: Any = 0

    def _total(self, name: str) -> Any:
        if name not in self._totals:
            counts = [of_term(count, name, size) for count, size in zip(self.counts, self.sizes, strict=True)]
            self._totals[name] = sum(counts[1:], start=counts[0])
        return self._totals[name]

    def refuse_nothing(self, non_finite: str) -> None:
        """NotFiniteError if nothing counts, so that the mean is 0/0, unless `non_finite` is ignore. What only the
        device knows is left to the guard."""
        first = self.counts[0]
        if non_finite == "ignore" or (first and not isinstance(first, Mapping | Tensor)):
            return
        names = list(first) if isinstance(first, Mapping) else ["loss"]
        if any(isinstance(total := self._total(name), Tensor) or total for name in names):
            return
        count = f"the count of {', '.join(names)}" if isinstance(first, Mapping) else "the count"
        what = f"nothing counts in the {sum(self.sizes)} samples of a step"
        raise NotFiniteError(f"{what}: {count} is 0 (all targets ignored?)")

    def share(self, number: int, terms: Terms) -> Tensor | None:
        """What batch `number` adds to the loss of the window; None if nothing counts in it."""
        if terms.counts:
            return self._late_share(terms)
        count, loss = self.counts[number], terms["loss"]
        if not isinstance(count, Mapping):
            return loss if len(self.counts) == 1 else self._share_of_loss(loss, count)
        names = [name for name in terms.parts or count if name in terms]
        if not names:
            raise UserError(f"count(batch) names {listing(count)}, expected names of losses: {listing(terms)}")
        size, totals = self.sizes[number], [self._total(name) for name in names]
        factors = [_factor(of_term(count, name, size), total) for name, total in zip(names, totals, strict=True)]
        if not any(isinstance(factor, Tensor) for factor in factors) and len(set(factors)) == 1:
            return _times(loss, factors[0])
        parts = [_times(terms[name], factor) for name, factor in zip(names, factors, strict=True)]
        counted = [part for part in parts if part is not None]
        return _or_nan(sum_of(counted), totals) if counted else None

    def _share_of_loss(self, loss: Tensor, count: Any) -> Tensor | None:
        total = self._total("loss")
        return _or_nan(_times(loss, _factor(count, total)), [total])

    def _late_share(self, terms: Terms) -> Tensor:
        """By a guess of the window's total. `correct` puts the gradients right."""
        loss, count = terms["loss"], terms.counts.get("loss")
        if len(self.counts) == 1:
            return loss if count is None or isinstance(count, Tensor) or count else loss * math.nan
        if count is None:
            raise UserError(
                f"a Ratio is exact with trainer.accumulate above 1 only where it is the whole loss; found the terms "
                f"{listing(terms.parts)}: give their losses count(target), or set trainer.accumulate: 1"
            )
        count = torch.as_tensor(count, dtype=loss.dtype, device=loss.device)
        if self._late_guess is None:
            self._late_guess = count.clamp(min=1) * len(self.counts)
        self._late_total = self._late_total + count
        return loss * (count / self._late_guess)

    def correct(self, optimizers: Iterable[Optimizer], look: Callable[[str, Tensor], None]) -> None:
        """Puts the gradients right after all backward passes. `look` is given what they are multiplied with, which is
        not finite if nothing counted."""
        if self._late_guess is None:
            return
        factor = self._late_guess / self._late_total
        look("nothing counts in the samples of a step: the sum of the losses over the count is", factor)
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        torch._foreach_mul_([p.grad for p in parameters if p.grad is not None], factor)


def _factor(count: Any, total: Any) -> Any:
    """The share of a batch: a number, on an accelerator perhaps a scalar there; None if nothing of it counts."""
    if isinstance(count, SampleSum):
        return 1
    if isinstance(total, Tensor):
        return (count / total).nan_to_num()
    return count / total if count else None


def _times(term: Tensor, factor: Any) -> Tensor | None:
    if isinstance(factor, Tensor):  # a mean over nothing is NaN
        return torch.where(factor > 0, term, 0.0) * factor.to(term.dtype)
    return term if factor == 1 else None if factor is None else term * factor


def _or_nan(share: Tensor | None, totals: Sequence[Any]) -> Tensor | None:
    """NaN if nothing counts in the window, which only the device knows: the guard sees it there."""
    if share is None or not any(isinstance(total, Tensor) for total in totals):
        return share
    return torch.where(sum(totals) > 0, share, math.nan)


def sum_of(terms: Collection[Tensor]) -> Tensor:
    """Their sum, in float32 at least."""
    kind = torch.float64 if any(term.dtype == torch.float64 for term in terms) else torch.float32
    return torch.stack([term.to(kind) for term in terms]).sum()
