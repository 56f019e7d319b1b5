"""A config as plain values, with a table by key path of where each was written and what it overrode."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from base.errors import Fault, Origin

KeyPath = tuple[str | int, ...]
"""`("metrics", 0, "args", "k")`: keys of mappings and indexes of lists."""
DEPTH = 64
"""How deep a config may nest."""
SIZE = 100_000
"""How many values a config may hold, its aliases written out."""
WHOLE = 2**63
"""Whole numbers are less than this, as torch's are."""
DIGITS = 70
"""How many characters a whole number may have, more than 2**63 needs in any base; a longer one is not worked out."""
ALIASES: dict[str, tuple[str, ...]] = {"arch": ("model",), "data_loader": ("data", "train")}
"""Top-level keys of pytorch-template, and the paths of the keys that they stand for."""


@dataclass(frozen=True)
class Source:
    """Where and how a value was written."""

    origin: Origin
    key_origin: Origin
    """Where its key was written; for an entry of a list, the same as `origin`."""
    text: str = ""
    """A scalar as it was written: `1e-3`, `"8"`."""
    overridden: tuple[Document, ...] = ()
    """Values that this one replaced, latest first: from extended files, or the `args` of another `type`."""
    reference: str = ""
    """`${project.width}` of a value that stands in its place."""


@dataclass
class Document:
    """`values` are dicts, lists and scalars; `sources` has the source of each by its path."""

    values: Any
    sources: dict[KeyPath, Source]

    def get(self, path: KeyPath) -> Any:
        """The value at `path`; None if there is none."""
        value = self.values
        for part in path:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def path(self, key: str) -> KeyPath:
        """The path of a dotted key: a number is an index where a list stands."""
        path: KeyPath = ()
        value = self.values
        for part in key.split("."):
            if isinstance(value, list) and part.isdecimal():
                path, value = (*path, int(part)), value[int(part)] if int(part) < len(value) else None
            else:
                path, value = (*path, part), value.get(part) if isinstance(value, dict) else None
        return path

    def nearest(self, path: KeyPath) -> Source:
        """The source of the value at `path`, or of the innermost written value around it."""
        while path not in self.sources:
            path = path[:-1]
        return self.sources[path]

    def found(self, path: KeyPath) -> str:
        """The value at `path` as a message quotes it."""
        value, text, reference = self.get(path), self.sources[path].text, self.sources[path].reference
        if isinstance(value, dict):
            said = "a mapping" if value else "an empty mapping"
        elif isinstance(value, list):
            said = f"a list of {len(value)}" if value else "an empty list"
        else:
            said = f"{text[:57]}..." if len(text) > 60 else text
        return f"{said}, the value of {reference}" if reference else said

    def part(self, path: KeyPath) -> Document:
        """A copy of the value at `path`."""
        value, start = self.get(path), len(path)
        return Document(copy.deepcopy(value), {inner[start:]: self.sources[inner] for inner, _ in walk(value, path)})

    def put(self, path: KeyPath, part: Document) -> None:
        """Replaces the value at `path`, or adds it to the mapping around it."""
        if path in self.sources:
            self.forget(path)
        if path:
            self.get(path[:-1])[path[-1]] = part.values
        else:
            self.values = part.values
        self.sources |= {(*path, *inner): source for inner, source in part.sources.items()}

    def forget(self, path: KeyPath) -> None:
        """Removes the sources of the value at `path`."""
        for inner, _ in walk(self.get(path), path):
            del self.sources[inner]

    def pop(self, path: KeyPath) -> Document | None:
        """Removes the key at `path` and returns its value; None if there is no such key."""
        if path not in self.sources:
            return None
        part = self.part(path)
        self.forget(path)
        del self.get(path[:-1])[path[-1]]
        return part


def walk(value: Any, path: KeyPath = ()) -> list[tuple[KeyPath, Any]]:
    """A value and everything in it, each with its path."""
    found = [(path, value)]
    for key, child in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += walk(child, (*path, key))
    return found


def dotted(path: KeyPath) -> str:
    """`metrics.0.args.k`"""
    return ".".join(map(str, path))


def nested(keys: KeyPath, part: Document, source: Source) -> Document:
    """`part` inside one-key mappings, all written at `source`."""
    values, sources = part.values, {(*keys, *path): inner for path, inner in part.sources.items()}
    for key in reversed(keys):
        values = {key: values}
    return Document(values, {keys[:length]: source for length in range(len(keys))} | sources)


def origin_of(source: str, text: str, at: int) -> Origin:
    """The line and column of the character at `at`."""
    return Origin(source, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def repeated(key: str, origin: Origin, first: Source) -> Fault:
    """The fault of a key that is given twice in a mapping."""
    return Fault(origin, key, "key given twice", hint=f"the first is at {first.key_origin}; keep one of them")


class Unreadable(Exception):
    """Reading stops here, with `fault` as the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def from_plain(value: Any, origin: Origin, faults: list[Fault], at: KeyPath = ()) -> Document:
    """A document from Python values (arguments of `fit()`, the config of a checkpoint), all with one origin. `at` is
    the path under which it will be placed; faults name it.
    """
    sources: dict[KeyPath, Source] = {}

    def plain(value: Any, path: KeyPath) -> Any:
        wrong = _not_plain(value, origin, path)
        sources[path[len(at) :]] = Source(origin, origin, "" if wrong else _written(value))
        if wrong:
            faults.append(wrong)
            return None
        if isinstance(value, Mapping):
            return {str(key): plain(item, (*path, str(key))) for key, item in value.items()}
        return [plain(item, (*path, i)) for i, item in enumerate(value)] if isinstance(value, list | tuple) else value

    return Document(plain(value, at), sources)


def _not_plain(value: Any, origin: Origin, path: KeyPath) -> Fault | None:
    if len(path) > DEPTH:
        return Fault(origin, dotted(path[:3]) + "...", f"nested more than {DEPTH} deep")
    if value is None or isinstance(value, Mapping | list | tuple):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return Fault(origin, dotted(path), "not a finite number", str(value))
    if isinstance(value, int) and abs(value) >= WHOLE:
        return Fault(origin, dotted(path), "too large for a whole number", expected="less than 2**63")
    if type(value) not in (bool, int, float, str):
        expected = "numbers, text, true, false, null, lists and mappings"
        return Fault(origin, dotted(path), f"{type(value).__name__} cannot be written in a config", "", expected)
    return None


def _written(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return ""
    if isinstance(value, str):
        return f'"{value}"'
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed."""

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses to be changed."""

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("a config is read-only: change its file, or override the key (command line, fit())")


_CHANGES = {
    FrozenDict: "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update",
    FrozenList: "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort",
}
for _kind, _methods in _CHANGES.items():
    for _method in _methods.split():
        setattr(_kind, _method, _refuse)


def freeze(value: Any) -> Any:
    """`value` with every dict and list in it read-only."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return FrozenList(freeze(item) for item in value) if isinstance(value, list | tuple) else value
