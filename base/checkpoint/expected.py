"""Comparisons of what a checkpoint holds with what is expected, each with its error message.

The hashes of a save show damage. They show nothing to whoever seals a save anew, and a tensor of the wrong shape can
crash a fused optimizer instead of raising.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base.errors import CheckpointError, ConfigError, listing, ran_out_of_memory

MOST = 1 << 53
"""No count of anything in a run is larger: from here on, floats skip integers."""


class Unfit(ValueError):
    """A value in a save that the run cannot take."""

    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(f"{key}: found {found}, expected {expected}")


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Whatever reading a save's content raises becomes a CheckpointError of one line that names the file.

    That includes what a user's own `load_state_dict` raises; its traceback is the cause.
    """
    try:
        yield
    except (CheckpointError, ConfigError):  # a changed config that the state cannot follow is no damage
        raise
    except Unfit as error:
        raise CheckpointError(f"{path}: {error}; resume from another checkpoint") from None
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        said = " ".join(str(error).split())[:300]
        what = f"cannot be restored: {type(error).__name__}: {said}"
        raise CheckpointError(f"{path}: {what}; resume from another checkpoint") from error


def described(value: Any) -> str:
    """A value in a few words: `float32 (3, 4)`, `'text'`, `a list of 3`."""
    if isinstance(value, Tensor):
        layout = "" if is_plain_tensor(value) else f"{str(value.layout).removeprefix('torch.')} or overlapping "
        return f"{layout}{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if isinstance(value, Mapping | list | tuple | set):
        return f"a {type(value).__name__} of {len(value)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:60]}..."


def need(right: bool, key: str, found: Any, expected: str) -> None:
    if not right:
        raise Unfit(key, described(found), expected)


def count(value: Any, key: str, low: int = 0, high: int = MOST) -> int:
    right = type(value) is int and low <= value <= high
    need(right, key, value, f"a whole number from {low}" + (f" to {high}" if high != MOST else ""))
    return int(value)


def amount(value: Any, key: str, low: float = -math.inf) -> None:
    """A finite number."""
    right = type(value) in (int, float) and math.isfinite(value) and value >= low
    need(right, key, value, "a finite number" + (f" from {low:g}" if low != -math.inf else ""))


def mapping(value: Any, key: str) -> Mapping[Any, Any]:
    need(isinstance(value, Mapping), key, value, "a dict")
    return dict(value)


def same_names(
    names: Collection[Any], value: Any, key: str, *, others: bool = False, later: Collection[Any] = ()
) -> Mapping[Any, Any]:
    """The dict `value`, whose keys must be `names`; with `others`, it may have more. It need not have those in `later`,
    which saves of earlier versions lack."""
    found = mapping(value, key)
    expected = listing(map(repr, names), "and") or "an empty dict"
    if missing := [name for name in names if name not in found and name not in later]:
        raise Unfit(key, f"no {missing[0]!r}", expected)
    if not others and (unknown := [name for name in found if name not in names]):
        raise Unfit(key, f"an unknown {described(unknown[0])}", expected)
    return found


def is_plain_tensor(value: Tensor) -> bool:
    """Dense, in memory, each element in a place of its own."""
    return (
        type(value) in (Tensor, torch.nn.Parameter)
        and value.layout is torch.strided
        and not (value.is_meta or value.is_quantized or value.is_nested or value.is_conj() or value.is_neg())
        and value.stride() == torch.empty_like(value, device="meta").stride()
    )


def plain_tensors(value: Any, key: str) -> None:
    """That all tensors in nested dicts and lists are of the one kind that a save writes."""
    if isinstance(value, Tensor):
        need(is_plain_tensor(value), key, value, "a dense tensor")
    elif isinstance(value, Mapping):
        for name, item in value.items():
            plain_tensors(item, f"{key}[{name!r}]")
    elif isinstance(value, list | tuple | set):
        for number, item in enumerate(value):
            plain_tensors(item, f"{key}[{number}]")


def same_tensor(there: Tensor, found: Any, key: str) -> None:
    """Shape and dtype."""
    right = isinstance(found, Tensor) and found.dtype == there.dtype and found.shape == there.shape
    need(right, key, found, described(there))


def same_kind(there: Any, found: Any, key: str) -> None:
    """That `found` may take the place of `there`: a number for a number, a list of as many, a dict of the same names,
    a tensor of the same shape and dtype. Where there is None, or was, any single value may be."""
    if isinstance(there, Tensor):
        same_tensor(there, found, key)
    elif isinstance(there, Mapping):
        for name, item in same_names(there, found, key).items():
            same_kind(there[name], item, f"{key}[{name!r}]")
    elif isinstance(there, list | tuple):
        right = type(found) is type(there) and len(found) == len(there)
        need(right, key, found, described(there))
        for number, (one, other) in enumerate(zip(there, found, strict=True)):
            same_kind(one, other, f"{key}[{number}]")
    else:
        same_scalar(there, found, key)


def same_scalar(there: Any, found: Any, key: str) -> None:
    if there is None or found is None:
        need(found is None or type(found) in (bool, int, float, str), key, found, "None or a single value")
    elif isinstance(there, bool | str):
        need(type(found) is type(there), key, found, f"a {type(there).__name__}, such as {there!r}")
    elif isinstance(there, int | float):
        if math.isfinite(there):
            amount(found, key)
        else:  # the best value before there is one
            need(type(found) in (int, float) and not math.isnan(found), key, found, "a number")


_ALIKE: tuple[tuple[type, ...], ...] = (
    (str,),
    (Mapping,),
    (list, tuple, set, frozenset, deque),
    (bool, int, float, complex, Tensor, np.ndarray, np.generic),
)


def similar(there: Any, found: Any, key: str) -> None:
    """What can be asked of the state of a user's object: texts stay texts, dicts dicts, lists lists. Numbers, tensors
    and None may take each other's places, and tensors may grow."""
    kinds: tuple[type, ...] = next((kinds for kinds in _ALIKE if isinstance(there, kinds)), (object,))
    need(there is None or found is None or isinstance(found, kinds), key, found, described(there))
    if isinstance(there, Mapping) and isinstance(found, Mapping):
        for name in there.keys() & found.keys():
            similar(there[name], found[name], f"{key}[{name!r}]")


def hides_nothing(owner: Any, state: Mapping[Any, Any], key: str) -> None:
    """For state that becomes attributes: no entry has the name of a method, which it would hide."""
    for name in state:
        need(isinstance(name, str), key, name, "names of attributes")
        need(not callable(getattr(type(owner), name, None)), f"{key}[{name!r}]", state[name], "no method's name")
