"""The state of a run at one instant: copied into CPU memory, so that training goes on while a thread writes it."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from base.errors import CheckpointError

SAFETENSORS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.complex64: "C64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""The dtypes that a .safetensors file holds, and what it calls them."""

# Compared with `type(value)`: a safe load refuses subclasses (np.float64 is a float, an enum may be an int), and b"".
_PLAIN = (type(None), bool, int, float, complex, str, torch.Size, torch.dtype, torch.device)
_SEQUENCES = (list, tuple, set)
_MAPPINGS = (dict, OrderedDict, Counter)
_KEYS = (str, int, bool, float, type(None))
_LONGEST_INT = 2000  # bits; torch's safe reader knows only the short form of long integers

_Form = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


@dataclass(frozen=True)
class Weights:
    """A state_dict cut into what a .safetensors file holds and what it cannot."""

    tensors: dict[str, Tensor]
    """On the CPU, contiguous, no two sharing memory."""
    aliases: dict[str, str]
    """Tied tensors: each further name, and the name it is stored under."""
    elsewhere: dict[str, Any]
    """Extra state that is no tensor, and dtypes that the format lacks: they go to state.pt."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that one save writes; nothing in it is shared with the training loop."""

    model: Weights
    raw: Weights | None
    state: dict[str, Any]
    bytes: int
    """What the tensors take; the files take a little more."""


class Buffers:
    """Takes snapshots into memory that it keeps: one is valid until the next is taken.

    Costs the state's size in CPU memory; for CUDA tensors it is pinned, and all are copied before the one wait.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Form, Tensor]] = {}
        self._used: dict[str, tuple[_Form, Tensor]] = {}

    def take(self, weights: Mapping[str, Any], state: Mapping[str, Any], raw: Mapping[str, Any] | None) -> Snapshot:
        """Copy it all. CheckpointError names what could not be read back with `weights_only=True`."""
        self._used = {}
        model = self._weights(weights, "weights")
        second = None if raw is None else self._weights(raw, "raw")
        plain = {key: self._copy(value, f"state[{key!r}]") for key, value in state.items()}
        for device in {device for (*_, device), _ in self._used.values() if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        self._kept = self._used
        return Snapshot(model, second, plain, sum(buffer.nbytes for _, buffer in self._kept.values()))

    def _weights(self, weights: Mapping[str, Any], where: str) -> Weights:
        tensors: dict[str, Tensor] = {}
        aliases: dict[str, str] = {}
        elsewhere: dict[str, Any] = {}
        first_at: dict[object, str] = {}
        for name, value in weights.items():
            key = f"{where}[{name!r}]"
            if not isinstance(value, Tensor) or value.dtype not in SAFETENSORS:
                elsewhere[name] = self._copy(value, key)
                continue
            self._check(value, key)
            memory = (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
            first = first_at.setdefault(memory, name)
            if first == name:
                tensors[name] = self._tensor(value, key, torch.contiguous_format)
            else:
                aliases[name] = first
        return Weights(tensors, aliases, elsewhere)

    def _copy(self, value: Any, key: str) -> Any:
        kind = type(value)
        if isinstance(value, Tensor):
            self._check(value, key)
            return self._tensor(value, key, torch.preserve_format)
        if kind in _PLAIN and not (kind is int and value.bit_length() > _LONGEST_INT):
            return value
        if kind in _MAPPINGS and all(type(name) in _KEYS for name in value):
            return kind({name: self._copy(item, f"{key}[{name!r}]") for name, item in value.items()})
        if kind in _SEQUENCES:
            return kind(self._copy(item, f"{key}[{index}]") for index, item in enumerate(value))
        found = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        if kind in _MAPPINGS:
            found += f" with the key {next(name for name in value if type(name) not in _KEYS)!r}"
        raise CheckpointError(
            f"{key} cannot be saved: found {found}, which loading without running code could not give back; "
            "expected tensors, numbers, strings, None, and lists, tuples, sets and dicts of them"
        )

    def _check(self, tensor: Tensor, key: str) -> None:
        if type(tensor) not in (Tensor, torch.nn.Parameter) or tensor.layout is not torch.strided or tensor.is_meta:
            found = f"{type(tensor).__name__} ({tensor.layout}, on {tensor.device})"
            raise CheckpointError(f"{key} cannot be saved: found {found}, expected a dense tensor that holds data")

    def _tensor(self, tensor: Tensor, key: str, layout: torch.memory_format) -> Tensor:
        form = (tensor.shape, tensor.stride(), tensor.dtype, tensor.device)
        kept, buffer = self._kept.get(key, (None, None))
        if buffer is None or kept != form:
            buffer = torch.empty_like(tensor, device="cpu", memory_format=layout, pin_memory=tensor.is_cuda)
        self._used[key] = (form, buffer)
        return buffer.copy_(tensor.detach(), non_blocking=tensor.is_cuda)
