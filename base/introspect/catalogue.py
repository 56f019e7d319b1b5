"""Every registered name with its arguments, documentation and source, and as a YAML example."""

from __future__ import annotations

import collections.abc as abc
import enum
import functools
import inspect
import itertools
import numbers
import pathlib
import re
import sys
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any, Literal

from base.config.annotations import MAPPINGS, NO_CONFIG, SEQUENCES, bare, choices, describe
from base.config.arguments import annotation, check_arguments, parameters
from base.config.document import KeyPath, dotted, from_plain
from base.config.lookup import COMPONENT_PATHS
from base.config.reader import to_yaml
from base.discovery import Definition
from base.errors import Origin
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
    users, own = index().users.get((registry.symbol, name)), index().own.get((registry.symbol, name))
    return users[0] if users else None if registry.is_users(name) else own


def _source(registry: Registry, name: str) -> str:
    if registry.is_users(name):
        return YOURS
    if (registry.symbol, name) in index().own:
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


FUNCTION = "my_function"
"""Stands for a function of the reader's own."""
_EXAMPLES: dict[str, Any] = {
    "num_classes": "${data.num_classes}",
    "total_steps": "${trainer.total_steps}",
    "T_max": "${trainer.epochs}",
    "task": "multiclass",
    "root": "data",
    "size": 28,
}
"""Better than any number, by the name of the argument."""

_SIMPLE = {int: 1, float: 0.5, numbers.Number: 1, bool: True, str: "text", Any: 1, type(None): None}


def place_of(symbol: str) -> str:
    """The key under which components of a registry stand; empty for those that only the program asks for."""
    return next((dotted(path) for path, symbols in COMPONENT_PATHS.items() if symbol == symbols[0]), "")


def block(entry: Entry) -> str:
    """The YAML of a component with what it must be given and its defaults; empty if no config can name it."""
    place = place_of(entry.registry.symbol)
    args = arguments(entry)
    if not place or args is None:
        return ""
    component: Any = {"type": entry.name, **({"args": args} if args else {})}
    for part in reversed(place.split(".")):
        component = [component] if part == "#" else {part: component}
    return to_yaml(component, inline=True)


def arguments(entry: Entry) -> dict[str, Any] | None:
    """Values for what must be given, defaults for what has one and is not null; None if no config can write these."""
    found: dict[str, Any] = {}
    for argument in entry.arguments:
        try:
            value = _value(argument, entry)
        except ValueError:
            if argument.needed:
                return None
            continue
        if value is not None:
            found[argument.name] = value
    return found


def _value(argument: Argument, entry: Entry) -> Any:
    """ValueError if no config can write it."""
    known = _EXAMPLES.get(argument.name)
    is_open = argument.needed or argument.default is None or argument.name == "num_classes"
    if known is not None and is_open and _fits(entry, argument.name, known):
        return known
    value = example(argument.annotation) if argument.needed else plain(argument.default)
    if value is not None and not _fits(entry, argument.name, value):
        raise ValueError("its own default does not fit the annotation")
    return value


def _fits(entry: Entry, name: str, value: Any) -> bool:
    path: KeyPath = tuple(0 if part == "#" else part for part in place_of(entry.registry.symbol).split("."))
    component: Any = {"type": entry.name, "args": {name: value}}
    for part in reversed(path):
        component = [component] if part == 0 else {part: component}
    at = Origin("example")
    faults = check_arguments(entry.target, from_plain(component, at, []), path, entry.name, at)
    wrong = {fault.key.rpartition(".args.")[2].partition(".")[0] for fault in faults}
    return FUNCTION in str(value) or name not in wrong


def example(annotation: Any) -> Any:
    """A value that fits. Raises ValueError if no config can write one."""
    if typing.get_origin(annotation) is Annotated:
        inner, *limits = typing.get_args(annotation)
        return _within(example(inner), limits)
    kind = choices(bare(annotation))[0]
    kind = bare(kind)
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is Literal:
        return inner[0]
    if origin in SEQUENCES:
        fixed = origin is tuple and inner and inner[-1] is not Ellipsis
        return [example(item) for item in (inner if fixed else inner[:1] or (int,))]
    if origin in MAPPINGS:
        return {}
    if origin is abc.Callable:
        return FUNCTION
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind)).name
    if isinstance(kind, type) and issubclass(kind, pathlib.PurePath):
        return "data"
    if kind in _SIMPLE:
        return _SIMPLE[kind]
    if kind.__module__ == "torch":
        return {"Tensor": [1.0], "dtype": "float32", "device": "cpu"}[kind.__name__]
    raise ValueError(f"no config can write a {kind}")


def _within(value: Any, limits: list[Any]) -> Any:
    low = max((getattr(limit, name, None) or 0 for limit in limits for name in ("ge", "gt")), default=0)
    return max(value, low) if isinstance(value, int | float) else value
