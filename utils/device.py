"""Which device to compute on, and moving a batch there."""

from __future__ import annotations

import logging
from typing import Any

import torch

from utils.batches import with_parts

log = logging.getLogger(__name__)


def available_devices() -> list[str]:
    """Names of the devices of this machine, best first: `cuda:0`, ..., `mps`, `cpu`."""
    devices = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append("mps")
    return [*devices, "cpu"]


def select_device(name: str = "auto", n_gpu: int | None = None) -> torch.device:
    """The device called `name`; `auto` is the first there is of cuda, mps, cpu. ValueError if there is none such.

    `n_gpu` 0 makes `auto` the cpu; of more than 1 or more than there are, one line says what is taken.
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


def to_device(batch: Any, device: torch.device, non_blocking: bool = False) -> Any:
    """`batch` with every tensor in it moved to `device`.

    Tuples, named tuples, lists, mappings and dataclasses are rebuilt as what they were, at any depth. Objects that move
    themselves by a method `to`, such as packed sequences, are asked to; any other value stays itself.
    """
    if callable(getattr(batch, "to", None)):
        return batch.to(device, non_blocking=non_blocking)
    return with_parts(batch, lambda part: to_device(part, device, non_blocking))


def prepare_device(n_gpu_use: int) -> tuple[torch.device, list[int]]:
    """pytorch-template's name for `select_device`: the device, and the numbers of the GPUs in use, one at most."""
    device = select_device("auto", n_gpu_use)
    return device, [device.index or 0] if device.type == "cuda" else []
