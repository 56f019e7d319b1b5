"""All gradients together: their norm, whether they are finite, the bounds they are clipped to; and clearing them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    from base.base_trainer import BaseTrainer


def prepare(trainer: BaseTrainer, optimizers: Collection[Optimizer], logged: bool) -> Tensor | None:
    """Unscales the gradients of these optimizers before they step. If this step is `logged`, or the config asks for
    it, checks and clips them too, and returns their norm before clipping, a scalar on the device."""
    settings = trainer.settings
    clip, every = settings.clip, settings.check_gradients
    due = logged or clip.norm or clip.value or trainer.guard.mode == "skip"
    due = due or (every is not None and (trainer.progress.step + 1) % every == 0)
    for optimizer in optimizers:
        trainer.precision.unscale(optimizer)
    norm = check_and_clip(trainer, optimizers) if due else None
    trainer.guard.hold_back(optimizers)
    return norm


def check_and_clip(trainer: BaseTrainer, optimizers: Iterable[Optimizer]) -> Tensor:
    """Checks and clips the gradients of these optimizers; their norm before, a scalar on the device."""
    clip, guard, precision = trainer.settings.clip, trainer.guard, trainer.precision
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"] if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not precision.overflows:
        guard.check("the norm of the gradients is", norm)
    if clip.norm:
        nn.utils.clip_grads_with_norm_(parameters, clip.norm, norm)
    if clip.value:
        nn.utils.clip_grad_value_(parameters, clip.value)
    guard.look()
    return norm


def clear(optimizers: Iterable[Optimizer]) -> None:
    """What `zero_grad` does, but for the profiler's entry it makes, which costs as much as a small layer."""
    for optimizer in optimizers:
        if type(optimizer).zero_grad is not Optimizer.zero_grad:  # it has something of its own to clear
            optimizer.zero_grad()
            continue
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
