"""What transforms and loaders do on an accelerator, with stand-ins: `meta` for CUDA, patched copies for MPS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from data_loader.augmentation import (
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
)
from data_loader.color import ColorJitter, RandomGrayscale
from data_loader.prefetch import DevicePrefetcher, Placement
from data_loader.transforms import CenterCrop, Normalize, Pipeline, Resize, ToFloat, Transform
from utils.batches import from_host, to_device

FAR, MPS = torch.device("meta"), torch.device("mps")


class Copies(TorchDispatchMode):
    """Counts copies from the host to `meta`; `waiting` are those that would wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.all, self.waiting = 0, 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        copies = {torch.ops.aten._to_copy.default: 0, torch.ops.aten.copy_.default: 1}
        if function in copies and args[copies[function]].device.type == "cpu":
            target = kwargs.get("device") or args[0].device
            if torch.device(target).type == "meta":
                asynchronous = kwargs.get("non_blocking") or (copies[function] and len(args) > 2 and args[2])
                self.all, self.waiting = self.all + 1, self.waiting + (not asynchronous)
        if function is torch.ops.aten.lift_fresh.default and torch.device(kwargs.get("device", "cpu")).type == "meta":
            self.all, self.waiting = self.all + 1, self.waiting + 1
        return function(*args, **kwargs)


KINDS: list[tuple[Callable[[], Transform], torch.dtype, int]] = [
    (ToFloat, torch.uint8, 0),
    (lambda: Normalize([0.4, 0.5, 0.6], [0.2, 0.3, 0.4]), torch.float32, 0),
    (RandomHorizontalFlip, torch.uint8, 2),
    (RandomVerticalFlip, torch.float32, 2),
    (lambda: RandomCrop(28, padding=2), torch.uint8, 1),
    (lambda: RandomCrop(28, padding=2, fill=(1, 2, 3)), torch.uint8, 1),
    (lambda: RandomCrop(28, padding=2, padding_mode="reflect"), torch.uint8, 1),
    (RandomErasing, torch.float32, 1),
    (lambda: RandomErasing(value=(0.1, 0.2, 0.3)), torch.float32, 1),
    (lambda: RandomAffine(10, fill=(0.1, 0.2, 0.3)), torch.float32, 1),
    (lambda: RandomRotation(10), torch.uint8, 1),
    (lambda: Resize(20), torch.float32, 0),
    (lambda: CenterCrop(20), torch.uint8, 0),
]


@pytest.mark.parametrize(("make", "dtype", "copies"), KINDS)
def test_a_transform_copies_its_parameters_alone_and_waits_for_no_copy(
    make: Callable[[], Transform], dtype: torch.dtype, copies: int
) -> None:
    pipeline = Pipeline([make()], 0)
    batch = torch.empty(16, 3, 28, 28, dtype=dtype, device=FAR)
    pipeline.on_batch(batch, 0, 0)  # constants come to the device with the first batch
    with Copies() as counted:
        pipeline.on_batch(batch, 0, 16)
    assert (counted.all, counted.waiting) == (copies, 0)


@pytest.mark.parametrize("transform", [ColorJitter(0.2, 0.2, 0.2, 0.1), RandomGrayscale(0.5)])
def test_changes_of_color_wait_for_no_copy(transform: Transform) -> None:
    with Copies() as counted:
        Pipeline([transform], 0).on_batch(torch.empty(16, 3, 8, 8, device=FAR), 0, 0)
    assert counted.all and not counted.waiting


def test_constants_are_made_once_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    transforms = [Normalize([0.41], [0.21]), RandomErasing(p=1, value=0.31), RandomAffine(10, fill=0.11)]
    made: list[Any] = []
    tensor = torch.tensor
    monkeypatch.setattr(torch, "tensor", lambda *args, **options: made.append(args) or tensor(*args, **options))
    for number in range(3):
        Pipeline(transforms, 0).on_batch(torch.zeros(4, 1, 9, 9), 0, 4 * number)
    assert len(made) == 4


class Mps(TorchFunctionMode):
    """`.to("mps")` stays on the CPU, refuses float64 as MPS does, and notes whether it was asked to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[bool] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is torch.Tensor.to and MPS in (*args, kwargs.get("device")):
            assert args[0].dtype != torch.float64, "Cannot convert a MPS Tensor to float64"
            self.waited.append(not kwargs.get("non_blocking", False))
            return args[0].clone()
        return function(*args, **kwargs)


def test_mps_is_given_no_float64_and_no_copy_outlives_its_source() -> None:
    doubles = [torch.ones(6, 2, dtype=torch.float64), torch.arange(6)]
    with Mps() as mps:
        placed = Placement(MPS, free=lambda device: 10**9).put("train", doubles)
        prefetcher = DevicePrefetcher(MPS)
        rows = prefetcher.end(prefetcher.begin(doubles, torch.tensor([1, 4])))
        batch = to_device({"x": doubles[0], "rest": (doubles[1], "a")}, MPS, non_blocking=True)
        drawn = from_host(np.arange(3.0), MPS)
    for floats in (placed[0], rows[0], batch["x"], drawn):
        assert floats.dtype == torch.float32
    assert rows[1].tolist() == [1, 4] and len(mps.waited) == 7 and all(mps.waited)


def test_parameters_go_to_cuda_from_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def to(tensor: Tensor, device: torch.device, non_blocking: bool = False) -> Tensor:
        asked.append(f"to {device} {non_blocking}")
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: asked.append("pinned") or tensor)
    monkeypatch.setattr(Tensor, "to", to)
    from_host(np.arange(3), torch.device("cuda"))
    assert asked == ["pinned", "to cuda True"]
