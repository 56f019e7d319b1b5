"""Where the input and the target are in a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Key = str | int | None


@dataclass(frozen=True)
class Places:
    """`data.keys`: the named entries of a mapping; of a tuple the first and the second element, or those numbered.

    A sample that is neither is the input itself.
    """

    input: Key = None
    target: Key = None

    def of_input(self, sample: Any) -> Any:
        """The index of the input in the sample, None if the sample is it. ValueError if there is no such part."""
        return _place(sample, self.input, 0, "input")

    def of_target(self, sample: Any) -> Any:
        return _place(sample, self.target, 1, "target")


def _place(sample: Any, key: Key, default: int, role: str) -> Key:
    if isinstance(sample, Mapping):
        if key not in sample:
            keys = ", ".join(map(str, sample))
            raise ValueError(f"data.keys.{role}: expected one of the sample's keys ({keys}), found {key or 'none'}")
        return key
    if isinstance(sample, tuple | list):
        index = default if key is None else key
        if not isinstance(index, int) or not -len(sample) <= index < len(sample):
            raise ValueError(
                f"data.keys.{role}: expected a number below {len(sample)}, the sample's size, found {index}"
            )
        return index
    if role == "target":
        raise ValueError(f"a sample has no target: it is a single {type(sample).__name__}")
    return None


def get_part(sample: Any, place: Any) -> Any:
    return sample if place is None else sample[place]


def with_part(sample: Any, place: Any, value: Any) -> Any:
    """A copy of the sample with `value` at `place`. A mapping becomes a dict."""
    if place is None:
        return value
    if isinstance(sample, Mapping):
        return {**sample, place: value}
    parts = list(sample)
    parts[place] = value
    if isinstance(sample, tuple):
        return type(sample)(*parts) if hasattr(sample, "_fields") else tuple(parts)
    return parts
