"""Randomness as a function of named integers, never of history.

`uniforms` is counter-based: the number at (seed, pass, position, stream, column) depends only on these five integers.
So a batch, a worker process or a resumed run computes the same number without drawing the earlier ones.
"""

from __future__ import annotations

import dis
import functools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_MASK = (1 << 64) - 1
# The increment and the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
# OOPSLA 2014, with Stafford's variant 13 of the constants).
_INCREMENT = 0x9E3779B97F4A7C15
_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_SHIFTS = (30, 27, 31)


def _mix(value: int) -> int:
    value = (value ^ (value >> _SHIFTS[0])) * _FACTORS[0] & _MASK
    value = (value ^ (value >> _SHIFTS[1])) * _FACTORS[1] & _MASK
    return value ^ (value >> _SHIFTS[2])


_U64_INCREMENT = np.uint64(_INCREMENT)
_U64_FACTORS = tuple(np.uint64(f) for f in _FACTORS)
_U64_SHIFTS = tuple(np.uint64(s) for s in _SHIFTS)


def _mix_in_place(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """`_mix` of every value; the array is overwritten."""
    values ^= values >> _U64_SHIFTS[0]
    values *= _U64_FACTORS[0]
    values ^= values >> _U64_SHIFTS[1]
    values *= _U64_FACTORS[1]
    values ^= values >> _U64_SHIFTS[2]
    return values


def fold_in(seed: int, *path: int) -> int:
    """A seed in [0, 2**63) derived from `seed` and the integers of `path`; different paths give different seeds."""
    state = _mix((seed + _INCREMENT) & _MASK)
    for step in path:
        state = _mix((state + step + _INCREMENT) & _MASK)
    return state >> 1


@functools.lru_cache(maxsize=256)
def _column_keys(seed: int, pass_: int, stream: int, n: int) -> NDArray[np.uint64]:
    return np.array([fold_in(seed, pass_, stream, column) for column in range(n)], dtype=np.uint64)


def uniforms(
    seed: int, pass_: int, positions: Sequence[int] | NDArray[np.integer[Any]], stream: int, n: int
) -> NDArray[np.float64]:
    """`n` uniform numbers in [0, 1) for each position: float64 (len(positions), n), multiples of 2**-53.

    A row depends on its own position only, not on which other positions are asked for.
    """
    rows = np.asarray(positions).astype(np.uint64)
    rows += np.uint64(1)
    rows *= _U64_INCREMENT
    bits = _mix_in_place(rows)[:, None] + _column_keys(seed, pass_, stream, n)
    _mix_in_place(bits)
    bits >>= np.uint64(11)
    return bits.astype(np.float64) * 2.0**-53


def seed_everything(seed: int) -> None:
    """Seeds the default generators of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)


def rng_state() -> dict[str, Any]:
    """The default generators' states as tensors and plain values, readable with `weights_only=True`."""
    version, words, gauss = random.getstate()
    numpy_state: dict[str, Any] = np.random.get_state(legacy=False)
    state: dict[str, Any] = {
        "python": {"version": version, "words": torch.tensor(words), "gauss": gauss},
        "numpy": {
            "words": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "position": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Restores what `rng_state` returned; states of devices that this machine lacks are ignored."""
    python, numpy_state = state["python"], state["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    np.random.set_state(
        (
            "MT19937",
            numpy_state["words"].numpy().astype(np.uint32),
            numpy_state["position"],
            numpy_state["has_gauss"],
            numpy_state["gauss"],
        )
    )
    torch.set_rng_state(state["torch"])
    for device, words in enumerate(state.get("cuda", [])):
        if device < torch.cuda.device_count():
            torch.cuda.set_rng_state(words, device)
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


def _seed_cpu_generators(key: int) -> None:
    # Seeds the CPU generator directly: torch.manual_seed visits every device and costs a hundred times as much.
    torch.default_generator.manual_seed(key)
    random.seed(key)
    np.random.seed(key & 0xFFFFFFFF)


@contextmanager
def isolated_rng(key: int = 0) -> Iterator[Callable[[int], None]]:
    """Seeds the default CPU generators with `key` for code that draws from them, and restores their states at the end.

    Yields a function that reseeds them, since saving the states (0.1 ms) costs more than seeding (8 us):

        with isolated_rng() as reseed:
            for position in positions:
                reseed(fold_in(seed, pass_, position))
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state(legacy=False)
    torch_state: Tensor = torch.default_generator.get_state()
    try:
        _seed_cpu_generators(key)
        yield _seed_cpu_generators
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)


_DRAWS_NOTHING = ("RESUME", "NOP", "POP_", "LOAD_", "STORE_FAST", "STORE_ATTR", "COMPARE_OP", "JUMP", "RETURN", "IS_OP")


def draws_nothing(method: Any) -> bool:
    """Whether a method's code is too simple to draw random numbers: no calls, imports, iteration or indexing."""
    code = getattr(method, "__code__", None)
    return code is not None and all(one.opname.startswith(_DRAWS_NOTHING) for one in dis.get_instructions(code))
