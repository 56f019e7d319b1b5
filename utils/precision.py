"""fp32, bf16 and fp16 behind the same few calls, so that the training loop knows one way only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NOTHING: AbstractContextManager[Any] = nullcontext()


def select_precision(mode: str, device: torch.device) -> Precision:
    """`mode` is fp32, bf16 or fp16. Weights stay float32."""
    return Scaled(mode, device) if mode == "fp16" else Precision(mode, device)


class Precision:
    """The number format of the forward pass; gradients are what they are."""

    overflows = False
    """Whether gradients may overflow now and then, which skips the step and is no fault."""

    def __init__(self, mode: str, device: torch.device) -> None:
        self.mode, self.device = mode, device

    def autocast(self) -> AbstractContextManager[Any]:
        return NOTHING if self.mode == "fp32" else torch.autocast(self.device.type, dtype=DTYPES[self.mode])

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        """Gives the gradients their true size. Calling it again before `step` changes nothing."""

    def step(self, optimizer: Optimizer) -> None:
        """Applies the gradients, unless they overflowed."""
        optimizer.step()

    def update(self) -> None:
        """Called once a training step, after all optimizers."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Scaled(Precision):
    """The loss is scaled so that small gradients survive in float16. An optimizer whose gradients overflow skips its
    step, and the scale is lowered. The scale stays the same until `update`: gradients of other optimizers, or of
    earlier batches of the window, still carry it."""

    overflows = True

    def __init__(self, mode: str, device: torch.device) -> None:
        super().__init__(mode, device)
        self.scaler = torch.amp.GradScaler(device.type)
        self._unscaled: set[Optimizer] = set()
        self._looked = False
        """Whether any gradients were looked at since the last `update`."""

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        if optimizer not in self._unscaled and _has_gradients(optimizer):
            self.scaler.unscale_(optimizer)
            self._unscaled.add(optimizer)
            self._looked = True

    def step(self, optimizer: Optimizer) -> None:
        if not _has_gradients(optimizer):  # it is another optimizer's turn, and the scaler would fail
            return
        self.unscale(optimizer)
        self.scaler.step(optimizer)
        self._unscaled.discard(optimizer)
        # The scaler lets an optimizer step once between two updates. `learn` may step it once for each batch of a
        # window, so its record, with the overflow that `update` must see, makes room for the next one.
        records = self.scaler._per_optimizer_states
        record = records.pop(id(optimizer))
        records[id(record)] = record

    def update(self) -> None:
        if self._looked:
            self.scaler.update()
        self._unscaled.clear()
        self._looked = False

    def state_dict(self) -> dict[str, Any]:
        return dict(self.scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scaler.load_state_dict(dict(state))


def _has_gradients(optimizer: Optimizer) -> bool:
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])
