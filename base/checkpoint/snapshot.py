"""A copy of the state in CPU memory, fit to be written: nothing in it is shared with the training loop."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from base.errors import CheckpointError

if TYPE_CHECKING:
    from base.checkpoint.component_values import Frozen

FROZEN = "frozen-"
"""What names of files begin with that all saves of a run share."""
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
    frozen: dict[str, FrozenFile]
    """By the path of the module."""
    bytes: int
    """What the tensors take; the files take a little more."""


@dataclass
class FrozenFile:
    """The weights of a module that never learns, for a file that all saves of a run share."""

    name: str
    weights: Weights
    entry: dict[str, Any] | None = None
    """Bytes and hash, once the file is known to be there."""


class Buffers:
    """Takes snapshots into memory that it keeps: one is valid until the next is taken.

    Costs the state's size in CPU memory; for CUDA tensors it is pinned, and all are copied before the one wait.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[_Form, Tensor]] = {}
        self._used: dict[str, tuple[_Form, Tensor]] = {}
        self._frozen: dict[str, FrozenFile] = {}

    def take(self, weights: Mapping[str, Any], state: Mapping[str, Any], raw: Mapping[str, Any] | None) -> Snapshot:
        """Copy it all. CheckpointError names what could not be read back with `weights_only=True`."""
        self._used = {}
        frozen = {path: self._frozen_file(path, one) for path, one in state.get("frozen", {}).items()}
        within = tuple(f"{path.removeprefix('models.')}." for path in frozen if path.startswith("models."))
        weights = {name: value for name, value in weights.items() if not name.startswith(within)}
        raw = raw and {name: value for name, value in raw.items() if not name.startswith(within)}
        model = self._weights(weights, "weights")
        second = None if raw is None else self._weights(raw, "raw")
        rest = {key: value for key, value in state.items() if key != "frozen"}
        plain = {key: self._copy(value, f"state[{key!r}]") for key, value in rest.items()}
        for device in {device for (*_, device), _ in self._used.values() if device.type == "cuda"}:
            torch.cuda.synchronize(device)
        self._kept = self._used
        return Snapshot(model, second, plain, frozen, sum(buffer.nbytes for _, buffer in self._kept.values()))

    def _frozen_file(self, path: str, module: Frozen) -> FrozenFile:
        """Nothing writes to these weights, so they need no copy but from a device."""
        name = f"{FROZEN}{module.digest[:32]}.safetensors"
        if name not in self._frozen:
            memory = Buffers()
            self._frozen[name] = FrozenFile(name, memory._weights(module.weights, path))
        return self._frozen[name]

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
