"""Devices, precision and memory."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim import optimizer as hooked

from utils.batches import with_parts

log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """The names of this machine's devices, best first: `cuda:0`, ..., `mps`, `cpu`."""
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def select_device(name: str = "auto", n_gpu: int | None = None) -> torch.device:
    """The device called `name`; `auto` is the first available of cuda, mps, cpu. ValueError if it is not available.

    `n_gpu` 0 makes `auto` the CPU. A number above 1, or above those present, logs which device is used.
    """
    present = available_devices()
    gpus = len(present) - 1
    if name == "auto" and n_gpu == 0:
        return torch.device("cpu")
    if name == "auto" and n_gpu and (n_gpu > 1 or n_gpu > gpus):
        log.info("n_gpu is %d, there are %d here, and a run takes one device: %s", n_gpu, gpus, present[0])
    if name == "auto":
        return torch.device(present[0].split(":")[0])
    if name in present or name in {device.split(":")[0] for device in present}:
        return torch.device(name)
    raise ValueError(f"device {name!r} is not on this machine; there is: {', '.join(present)} (or auto)")


def prepare_device(n_gpu_use: int) -> tuple[torch.device, list[int]]:
    """pytorch-template's name for `select_device`: the device, and the numbers of the GPUs in use, one at most."""
    device = select_device("auto", n_gpu_use)
    return device, [device.index or 0] if device.type == "cuda" else []


DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
NOTHING: AbstractContextManager[Any] = nullcontext()


def select_precision(mode: str, device: torch.device) -> MixedPrecision:
    """`mode` is fp32, bf16, fp16 or fp64. Weights stay float32 in the first three. ValueError if
    the device has no float64."""
    if mode == "fp64" and device.type == "mps":
        raise ValueError("trainer.precision: found fp64, and mps has no float64; expected fp32, bf16 or fp16")
    if mode == "fp64":
        return DoublePrecision(mode, device)
    return ScaledPrecision(mode, device) if mode == "fp16" else MixedPrecision(mode, device)


class MixedPrecision:
    """The number format of the forward pass; gradients are not scaled."""

    overflows = False
    """Whether gradients may overflow occasionally. Such a step is skipped, which is not an error."""

    def __init__(self, mode: str, device: torch.device) -> None:
        self.mode, self.device = mode, device

    def prepare(self, modules: Iterable[Any]) -> None:
        """Called once with the models and losses, before their first use."""

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device.type, dtype=DTYPES[self.mode]) if self.mode in DTYPES else NOTHING

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        """Divides the gradients by the loss scale, once before each `step`."""

    def step(self, optimizer: Optimizer) -> None:
        """Applies the gradients, unless they overflowed."""
        take_step(optimizer)

    def update(self) -> None:
        """Called once per training step, after all optimizers."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


def take_step(optimizer: Optimizer) -> None:
    """`optimizer.step()` without torch's profiler entry, which costs as much as a small layer."""
    whole, own = type(optimizer).step, vars(optimizer).get("step")
    hooks = (
        optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks
        or hooked._global_optimizer_pre_hooks or hooked._global_optimizer_post_hooks
    )  # fmt: skip
    patched = own is not None and not hasattr(own, "_wrapped_by_lr_sched")
    if hooks or patched or torch.autograd.profiler._is_profiler_enabled or not hasattr(whole, "hooked"):
        optimizer.step()
    else:
        optimizer._opt_called = True  # type: ignore[attr-defined]  # what a scheduler's patch of `step` notes
        whole.__wrapped__(optimizer)  # type: ignore[attr-defined]


class DoublePrecision(MixedPrecision):
    """float64 throughout. Models and losses accept float32 data and convert it to float64."""

    def prepare(self, modules: Iterable[Any]) -> None:
        for module in modules:
            if isinstance(module, nn.Module):
                module.double().register_forward_pre_hook(_doubled, with_kwargs=True)


def _doubled(module: nn.Module, args: Any, kwargs: Any) -> Any:
    return _to_double(args), _to_double(kwargs)


def _to_double(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.double() if value.is_floating_point() else value
    return with_parts(value, _to_double)


class ScaledPrecision(MixedPrecision):
    """Scales the loss so that small gradients do not underflow in float16. If gradients overflow, their optimizer skips
    its step and the scale is lowered. The scale changes only in `update`, because gradients of other optimizers and of
    earlier batches of the window have the old scale."""

    overflows = True

    def __init__(self, mode: str, device: torch.device) -> None:
        super().__init__(mode, device)
        self.scaler = torch.amp.GradScaler(device.type)
        self._unscaled: set[Optimizer] = set()
        self._looked = False
        """Whether gradients were unscaled since the last `update`."""

    def backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: Optimizer) -> None:
        if optimizer not in self._unscaled and _has_gradients(optimizer):
            self.scaler.unscale_(optimizer)
            self._unscaled.add(optimizer)
            self._looked = True

    def step(self, optimizer: Optimizer) -> None:
        if not _has_gradients(optimizer):  # another optimizer's turn; the scaler fails without gradients
            return
        self.unscale(optimizer)
        self.scaler.step(optimizer)
        self._unscaled.discard(optimizer)
        # The scaler allows one step per optimizer between two updates, but `learn` may take one for each batch of a
        # window. So the record of a step, with the overflow that `update` must see, is moved out of the way.
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


GIB = 1 << 30


def memory() -> dict[str, float]:
    """Memory in GiB: `ram` is this process's resident memory without its workers, if the system reports it; `gpu` is
    the peak allocated by tensors on the current CUDA device, if one is in use. Does not wait for the device."""
    used = {}
    if Path("/proc/self/statm").exists():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        used["ram"] = pages * os.sysconf("SC_PAGE_SIZE") / GIB
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        used["gpu"] = torch.cuda.max_memory_allocated() / GIB
    return used


def bounds(tensor: Tensor) -> tuple[float, float] | None:
    """The smallest and largest value; None for empty and boolean tensors, and for those that torch cannot order:
    complex, sparse and nested tensors, and unsigned integers of more than 8 bits."""
    try:
        if tensor.dtype == torch.bool or not tensor.numel():
            return None
        low, high = tensor.detach().aminmax()
        return float(low), float(high)
    except (RuntimeError, TypeError):
        return None
