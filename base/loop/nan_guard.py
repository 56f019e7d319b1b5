"""Non-finite losses and gradients: stop, skip the step, or ignore. Also clips and clears gradients."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from base.checkpoint.forward_state import ForwardState
from base.errors import NotFiniteError
from base.loop.optim import Average
from utils.device import MixedPrecision

if TYPE_CHECKING:
    from base.config.keys import ClipConfig


class NonFiniteGuard:
    """`mode` is stop, skip (at most `max_skipped` steps in a row) or ignore.

    On an accelerator a look at a number waits for the device. In the mode `stop` the verdict stays there: fused
    optimizers leave out every update from the first bad number on, and the host looks at each log and before each save.
    """

    def __init__(self, mode: str, max_skipped: int, deferred: bool) -> None:
        self.mode, self.max_skipped = mode, max_skipped
        self.deferred = deferred and mode == "stop"
        self.verdict: Tensor | None = None
        """float32 scalar on the device: 1 if something was not finite since the host looked."""
        self.in_a_row = self.skipped = 0
        self.exempt: list[str] = []
        """Buffers that were not finite when the run began, such as masks of -inf."""

    def check(self, what: str, value: Tensor) -> None:
        if self.deferred:
            bad = (~value.detach().isfinite()).float()
            self.verdict = bad if self.verdict is None else torch.maximum(self.verdict, bad)
        elif self.mode != "ignore" and not math.isfinite(number := value.item()):
            raise NotFiniteError(f"{what} {number}")

    def mask_update(self, optimizers: Iterable[Optimizer]) -> None:
        """Before the optimizers step: the bad verdict, not yet seen by the host, makes their update none. Those that
        are not fused cannot be told on the device; for them the host looks."""
        if self.verdict is None:
            return
        for optimizer in optimizers:
            if optimizer.defaults.get("fused"):
                optimizer.found_inf = self.verdict  # type: ignore[attr-defined]
            else:
                self.raise_if_bad()

    def raise_if_bad(self) -> None:
        """Waits for the device and raises what it found since the last look; the weights were not touched since."""
        if self.verdict is not None and self.verdict.item():
            raise NotFiniteError("the loss or the gradients were not finite (seen late, the weights are untouched)")

    def before_step(
        self, models: Iterable[nn.Module], losses: Iterable[Any], stateful: Iterable[Any]
    ) -> StepUndo | None:
        """What the step's forward passes may have to be undone with, in the mode `skip`."""
        return StepUndo(models, losses, stateful) if self.mode == "skip" else None

    def skip_step(self, error: NotFiniteError, undo: StepUndo | None, where: str) -> None:
        """Forgives a step in the mode `skip`: what its forward passes changed (BatchNorm's buffers, a hidden state,
        what a loss counts, metrics, sums of losses) is put back. The caller clears the gradients."""
        if undo is None or self.in_a_row >= self.max_skipped:
            raise NotFiniteError(f"{error} in {where}") from None
        self.in_a_row, self.skipped = self.in_a_row + 1, self.skipped + 1
        undo()

    def exempt_buffers(self, models: Mapping[str, nn.Module]) -> None:
        self.exempt = [name for name, buffer in _float_buffers(models) if not _all_finite([buffer])]

    def check_state(
        self,
        models: Mapping[str, nn.Module],
        optimizers: Iterable[Optimizer],
        averages: Mapping[str, Average],
        where: str,
    ) -> None:
        """Refuses to save weights, buffers, averages of them or optimizer tensors that are not finite. `where` says in
        the error how far the run is."""
        if self.mode == "ignore":
            return
        self.raise_if_bad()
        tensors = self._tensors_of(models)
        for optimizer in optimizers:
            tensors += [t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor)]
        averaged = self._tensors_of({name: average.module for name, average in averages.items()})
        for what, found in (("weights or optimizer state", tensors), ("averages", averaged)):
            if not _all_finite(found):
                raise NotFiniteError(f"{what} are not finite after {where}: not saved")

    def _tensors_of(self, models: Mapping[str, nn.Module]) -> list[Tensor]:
        tensors = [p.detach() for model in models.values() for p in model.parameters()]
        return tensors + [buffer for name, buffer in _float_buffers(models) if name not in self.exempt]

    def state_dict(self) -> dict[str, Any]:
        return {"in_a_row": self.in_a_row, "skipped": self.skipped, "exempt": list(self.exempt)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class StepUndo:
    """What a forward pass may change, as it was."""

    def __init__(self, models: Iterable[nn.Module], losses: Iterable[Any], stateful: Iterable[Any]) -> None:
        self.forward_state = ForwardState(models, losses)
        self.stateful = list(stateful)
        self.states = [copy.deepcopy(item.state_dict()) for item in self.stateful]

    def __call__(self) -> None:
        self.forward_state()
        for item, state in zip(self.stateful, self.states, strict=True):
            item.load_state_dict(state)


def _float_buffers(models: Mapping[str, nn.Module]) -> Iterable[tuple[str, Tensor]]:
    for model_name, model in models.items():
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point() or buffer.is_complex():
                yield f"{model_name}.{name}", buffer


def _all_finite(tensors: Iterable[Tensor]) -> bool:
    """By their sums, which what is not finite never leaves; a tenth of the time that the largest magnitude takes. Only
    where a sum of large finite numbers may have overflowed is that looked at."""
    pairs = (torch.view_as_real(t.resolve_conj()) if t.is_complex() else t for t in tensors)
    floats = [t for t in pairs if t.is_floating_point() and t.numel()]
    by_device: dict[torch.device, list[Tensor]] = {}
    for tensor in floats:
        by_device.setdefault(tensor.device, []).append(tensor.sum().float())
    if all(math.isfinite(torch.stack(sums).sum().item()) for sums in by_device.values()):
        return True
    return math.isfinite(get_total_norm(floats, norm_type=math.inf).item())


def prepare(
    optimizers: Collection[Optimizer], guard: NonFiniteGuard, precision: MixedPrecision, clip: ClipConfig, due: bool
) -> Tensor | None:
    """Unscales the gradients of these optimizers before they step. If a check is `due`, or the config clips or skips,
    checks and clips them too, and returns their norm before clipping, a scalar on the device."""
    for optimizer in optimizers:
        precision.unscale(optimizer)
    wanted = due or bool(clip.norm or clip.value) or guard.mode == "skip"
    norm = check_and_clip(optimizers, guard, precision, clip) if wanted else None
    if due:
        guard.raise_if_bad()
    guard.mask_update(optimizers)
    return norm


def check_and_clip(
    optimizers: Iterable[Optimizer], guard: NonFiniteGuard, precision: MixedPrecision, clip: ClipConfig
) -> Tensor:
    """Checks and clips the gradients of these optimizers; their norm before, a scalar on the device."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"] if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if not precision.overflows:
        guard.check("the norm of the gradients is", norm)
    if clip.norm:
        nn.utils.clip_grads_with_norm_(parameters, clip.norm, norm)
    if clip.value:
        nn.utils.clip_grad_value_(parameters, clip.value)
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
