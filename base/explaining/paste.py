"""A component as a YAML block that can be pasted into a config."""

from __future__ import annotations

import collections.abc as abc
import enum
import numbers
import pathlib
import typing
from typing import Annotated, Any, Literal

from base.config.annotations import MAPPINGS, SEQUENCES, bare, choices
from base.config.arguments import check_arguments
from base.config.document import KeyPath, dotted, from_plain
from base.config.lookup import COMPONENT_PATHS
from base.config.yaml_format import to_yaml
from base.errors import Origin
from base.explaining.catalogue import Argument, Entry, plain

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
