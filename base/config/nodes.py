"""The tree that a config is read into: every value keeps where it was written, and what it took the place of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from base.errors import Fault, Origin

Place = tuple[str | int, ...]
DEPTH = 64
"""How deep a config may nest."""
SIZE = 100_000
"""How many values a config may hold, its aliases written out."""
DIGITS = 300
"""How many a whole number may have: where a float is asked for it becomes one, and 10^308 is the last."""

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


@dataclass(frozen=True)
class Node:
    """A scalar, a list of nodes, or a dict of nodes by key."""

    value: Any
    origin: Origin
    key_origin: Origin | None = None
    text: str = ""
    """A scalar as it was written: `1e-3`, `"8"`."""
    shadowed: tuple[Node, ...] = field(default=(), compare=False)
    """What stood here before, the latest first: values of files below, `args` of another `type`."""

    @property
    def is_map(self) -> bool:
        return isinstance(self.value, dict)

    @property
    def is_list(self) -> bool:
        return isinstance(self.value, list)

    def __contains__(self, key: str) -> bool:
        return self.is_map and key in self.value

    def at(self, place: Place) -> Node | None:
        """The node at `place` below this one, or None."""
        node: Node | None = self
        for part in place:
            if node is None:
                return None
            if node.is_map:
                node = node.value.get(str(part))
            elif node.is_list and isinstance(part, int):
                node = node.value[part] if part < len(node.value) else None
            else:
                return None
        return node

    def walk(self, place: Place = ()) -> Iterator[tuple[Place, Node]]:
        """This node and every one below it, each with its place."""
        yield place, self
        children = self.value.items() if self.is_map else enumerate(self.value) if self.is_list else ()
        for part, node in children:
            yield from node.walk((*place, part))

    def plain(self) -> Any:
        """The value alone: scalars, lists, dicts."""
        if self.is_map:
            return {key: node.plain() for key, node in self.value.items()}
        return [node.plain() for node in self.value] if self.is_list else self.value

    def found(self) -> str:
        """The value as a message quotes it."""
        if self.is_map:
            return "a mapping" if self.value else "an empty mapping"
        if self.is_list:
            return f"a list of {len(self.value)}" if self.value else "an empty list"
        return f"{self.text[:57]}..." if len(self.text) > 60 else self.text


class Unreadable(Exception):
    """Reading stops here, with `fault` as the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def repeated(key: str, origin: Origin, first: Node) -> Fault:
    """The fault of a key that stands twice in a mapping."""
    return Fault(origin, key, "key given twice", hint=f"the first is at {first.key_origin}; keep one of them")


def dotted(place: Place) -> str:
    """`metrics.0.args.k`"""
    return ".".join(map(str, place))


def scalar(text: str) -> Any:
    """What YAML 1.2 means by text without quotes: `1e-3` is a number; `yes`, `off`, `1_000` and dates are text.

    Raises ValueError for NaN, infinities, and numbers too large to be one.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        if len(text) > DIGITS:
            raise ValueError("too large for a number")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if _FLOAT.fullmatch(text):
        if math.isinf(number := float(text)):
            raise ValueError("too large for a number")
        return number
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("not a finite number")
    return text


def from_plain(value: Any, origin: Origin, faults: list[Fault], place: Place = ()) -> Node:
    """A tree of one origin from Python values: what `fit()` was given, the config of a checkpoint."""
    wrong: Fault | None = None
    if len(place) > DEPTH:
        wrong = Fault(origin, dotted(place[:3]) + "...", f"nested more than {DEPTH} deep")
    elif isinstance(value, Mapping):
        nodes = {str(key): from_plain(item, origin, faults, (*place, str(key))) for key, item in value.items()}
        return Node({key: replace(node, key_origin=origin) for key, node in nodes.items()}, origin)
    elif isinstance(value, list | tuple):
        return Node([from_plain(item, origin, faults, (*place, i)) for i, item in enumerate(value)], origin)
    elif isinstance(value, float) and not math.isfinite(value):
        wrong = Fault(origin, dotted(place), "not a finite number", str(value))
    elif isinstance(value, int) and abs(value) >= 10**DIGITS:
        wrong = Fault(origin, dotted(place), "too large for a number")
    elif value is not None and type(value) not in (bool, int, float, str):
        expected = "numbers, text, true, false, null, lists and mappings"
        wrong = Fault(origin, dotted(place), f"{type(value).__name__} cannot be written in a config", "", expected)
    if wrong:
        faults.append(wrong)
        return Node(None, origin)
    return Node(value, origin, text=_written(value))


def _written(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
