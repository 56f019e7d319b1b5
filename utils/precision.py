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
        """Before gradients are looked at or clipped."""

    def step(self, optimizer: Optimizer) -> None:
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Scaled(Precision):
    """The loss is scaled so that small gradients survive in float16; where a scaled one overflows, the step is skipped
    and the scale lowered."""

    overflows = True

    def __init__(self, mode: str, device: torch.device) -> None:
        super().__init__(mode, device)
        self.scaler = torch.amp.GradScaler(device.type)

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: Optimizer) -> None:
        if any(p.grad is not None for group in optimizer.param_groups for p in group["params"]):
            self.scaler.step(optimizer)  # it fails without any, where it is the turn of another optimizer
            self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.scaler.load_state_dict(dict(state))
