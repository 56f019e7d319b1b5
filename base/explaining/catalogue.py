"""What a config may name: every registered class and function with its arguments, its doc line, where it is defined."""

from __future__ import annotations

import enum
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from base.config.annotations import NO_CONFIG, describe
from base.config.arguments import annotation, parameters
from base.discovery import Definition
from base.registry import Registry, index

YOURS, FRAMEWORK = "yours", "the framework's"


@dataclass(frozen=True)
class Argument:
    name: str
    annotation: Any
    default: Any
    """`Parameter.empty` if it must be given."""
    about: str
    """From the docstring; may be empty."""

    @property
    def needed(self) -> bool:
        return self.default is Parameter.empty

    @property
    def words(self) -> str:
        """What it may hold."""
        return describe(self.annotation)

    @property
    def writable(self) -> bool:
        """False if no config can say what it must be given."""
        return not (self.needed and NO_CONFIG in self.words)


@dataclass(frozen=True)
class Entry:
    """One name of one registry."""

    registry: Registry
    name: str
    target: Any
    source: str
    """YOURS, FRAMEWORK, or the public name of a library's module."""
    place: str
    """`model/mine.py:12`, or `torch.optim.SGD`."""
    about: str
    arguments: tuple[Argument, ...]
    takes_any: bool
    """True if other arguments are taken too, by `**kwargs` that cannot be followed: they are not checked."""

    @property
    def public_name(self) -> str:
        return public_name(self.target, self.name)


def names_by_source(registry: Registry) -> dict[str, list[str]]:
    """The names of a registry, sorted, by where they come from; imports libraries, no file of the project."""
    found: dict[str, list[str]] = {}
    for name in registry.names():
        found.setdefault(_source(registry, name), []).append(name)
    order = {YOURS: 0, FRAMEWORK: 1}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 2), item[0])))


def entry(registry: Registry, name: str) -> Entry:
    """Everything about one name; raises what `registry.get` raises."""
    target = registry.get(name)
    definition = _definition(registry, name)
    known, takes_any = parameters(target)
    hidden = registry.supplied_to(target)
    told = argument_docs(target)
    return Entry(
        registry,
        name,
        target,
        _source(registry, name),
        definition.place if definition else public_name(target, name),
        doc_line(target),
        tuple(
            Argument(p.name, annotation(target, p), p.default, told.get(p.name, ""))
            for p in known.values()
            if p.name not in hidden and not p.name.startswith("_")
        ),
        takes_any,
    )


def _definition(registry: Registry, name: str) -> Definition | None:
    """What `registry.get` takes, if that stands in a file of the project."""
    users = index().find(registry.symbol, name, own=False)
    if users or registry.is_users(name):
        return users[0] if users else None
    return next(iter(index().find(registry.symbol, name, own=True)), None)


def _source(registry: Registry, name: str) -> str:
    if registry.is_users(name):
        return YOURS
    if index().find(registry.symbol, name, own=True):
        return FRAMEWORK
    return public_name(registry.get(name), name).rpartition(".")[0]


def public_name(target: Any, name: str) -> str:
    """`torch.optim.SGD` for the class that torch/optim/sgd.py defines: the shortest path that leads to it."""
    target = inspect.unwrap(target)
    parts = target.__module__.split(".")
    for end, known in itertools.product(range(1, len(parts) + 1), (name, target.__name__)):
        found = vars(sys.modules.get(".".join(parts[:end]), sys)).get(known)
        if found is not None and inspect.unwrap(found) is target:
            return ".".join([*parts[:end], known])
    return f"{target.__module__}.{target.__name__}"


def doc_line(target: Any) -> str:
    """The first sentence of the docstring, in plain words; empty if there is none of its own."""
    own = vars(target).get("__doc__") if inspect.isclass(target) else getattr(target, "__doc__", None)
    text = re.split(r"\n\s*(?:\n|\.\. |Args:|>>>)", inspect.cleandoc(own or ""), maxsplit=1)[0]
    return _sentence(text)


def _sentence(text: str) -> str:
    """The first sentence without the marks of reStructuredText."""
    text = re.sub(r":\w+(?::\w+)?:`~?([^`]*)`", lambda m: m[1].rpartition(".")[2] or m[1], text)
    text = re.sub(r"`([^`<]*?)\s*<[^`>]*>`_*", r"\1", text)
    text = re.sub(r"\[\w+\]\s*|(?<=\w)_(?=\W|$)", "", re.sub(r"`+|\*\*", "", " ".join(text.split())))
    first = re.split(r"(?<=[a-z0-9)\]])\.(?:\s|$)", text, maxsplit=1)[0].strip()
    return first if len(first) <= 160 else first[:157].rsplit(" ", 1)[0] + " ..."


_ARGUMENT = re.compile(r"^(\s+|(?=`))(?:[-*] )?[*`]{0,2}(\w+)[*`]{0,2}\s*(?:\(([^()]|\([^()]*\))*\))?\s*:\s+(\S.*)$")


@functools.cache
def argument_docs(target: Any) -> dict[str, str]:
    """The sentence about each argument in the docstrings of a class and its bases: under Google's `Args:`, or as a
    paragraph that begins with the name in backquotes and a colon."""
    owners = target.__mro__ if inspect.isclass(target) else (inspect.unwrap(target),)
    found: dict[str, str] = {}
    for owner in owners:
        for text in (getattr(vars(owner).get("__init__"), "__doc__", None), vars(owner).get("__doc__")):
            found = _told(text or "") | found
    return found


def _told(text: str) -> dict[str, str]:
    lines, found = inspect.cleandoc(text).splitlines(), dict[str, str]()
    for i, line in enumerate(lines):
        match = _ARGUMENT.match(line)
        if match:
            indent, rest = len(match[1]), [match[4]]
            for more in lines[i + 1 :]:
                if not more.strip() or (indent and len(more) - len(more.lstrip()) <= indent):
                    break
                rest.append(more.strip())
            found.setdefault(match[2], _sentence(re.sub(r"\s*\(?[Dd]efaults?:.*$", "", " ".join(rest))))
    return {name: about for name, about in found.items() if about}


def plain(value: Any) -> Any:
    """A default as a config writes it. Raises ValueError for what no config can write."""
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and abs(value) < float("inf")):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device"):
        return str(value).removeprefix("torch.")
    raise ValueError(f"no config can write {value!r}")
