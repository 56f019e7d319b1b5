"""Types and limits in words, for messages and docs, and the likeliest repair of a value that does not fit them."""

from __future__ import annotations

import collections.abc as abc
import enum
import inspect
import numbers
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal, Union

from base.config.nodes import Node, scalar
from base.errors import listing

SEQUENCES = (list, tuple, set, frozenset, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection, abc.Set)
MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)
_ONE_AND_MANY: dict[Any, tuple[str, str]] = {
    Any: ("a value", "values"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    complex: ("a number", "numbers"),
    numbers.Number: ("a number", "numbers"),
    numbers.Real: ("a number", "numbers"),
    str: ("text", "texts"),
    type(None): ("null", "null"),
}
_TORCH = {"Tensor": "a list of numbers", "dtype": "a dtype such as float32", "device": "a device such as cpu"}
NO_CONFIG = ", which no config can write"
_LIMITS = {
    ("ge",): ", {ge} or more",
    ("gt",): " above {gt}",
    ("le",): ", {le} or less",
    ("lt",): " below {lt}",
    ("ge", "le"): " from {ge} to {le}",
    ("ge", "lt"): " from {ge} to below {lt}",
    ("gt", "le"): " above {gt} and up to {le}",
    ("gt", "lt"): " between {gt} and {lt}",
}
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def bare(annotation: Any) -> Any:
    """The annotation without aliases and decoration; Any for what says nothing that can be checked."""
    while True:
        if typing.get_origin(annotation) is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, typing.NewType):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":  # `type X = ...` of Python 3.12
            annotation = annotation.__value__
        else:
            break
    if annotation is None:
        return type(None)
    by_name = isinstance(annotation, str | typing.TypeVar | typing.ParamSpec | typing.ForwardRef)
    is_protocol = getattr(annotation, "_is_protocol", False)
    return Any if by_name or is_protocol or annotation in (object, inspect.Parameter.empty) else annotation


def choices(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    union = typing.get_origin(annotation) in (Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def describe(annotation: Any, many: bool = False) -> str:
    """`a whole number`, `a list of numbers`, `a number from 0 to 1`, `'mean' or 'sum'`."""
    if typing.get_origin(annotation) is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        return describe(inner, many) + limits(metadata)
    annotation = bare(annotation)
    origin, inner = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if annotation in _ONE_AND_MANY:
        return _ONE_AND_MANY[annotation][many]
    if origin in (Union, types.UnionType):
        return _describe_union(inner, many)
    if origin is Literal:
        return listing([repr(choice) if isinstance(choice, str) else str(choice) for choice in inner])
    if origin in SEQUENCES:
        fixed = origin is tuple and bool(inner) and inner[-1] is not Ellipsis
        words = list(dict.fromkeys(describe(kind, True) for kind in (inner if fixed else inner[:1])))
        number = f"{len(inner)} " if fixed else ""
        return f"{'lists' if many else 'a list'} of {number}{listing(words, 'and')}" if words else "a list"
    if origin in MAPPINGS:
        return "mappings" if many else "a mapping"
    if origin is abc.Callable:
        return "names of registered functions" if many else "the name of a registered function"
    return _describe_class(annotation)


def _describe_union(kinds: Iterable[Any], many: bool) -> str:
    kinds = list(kinds)
    if float in kinds:
        kinds = [kind for kind in kinds if kind is not int and getattr(kind, "__name__", "") != "Tensor"]
    kinds = [kind for kind in kinds if not describe(kind).endswith(NO_CONFIG)] or kinds
    kinds.sort(key=lambda kind: kind is type(None))
    return listing(list(dict.fromkeys(describe(kind, many) for kind in kinds)))


def _describe_class(annotation: Any) -> str:
    name = getattr(annotation, "__name__", str(annotation))
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return "one of " + listing([member.name for member in annotation])
        if issubclass(annotation, pathlib.PurePath) or annotation is os.PathLike:
            return "a path"
        if annotation.__module__ == "torch" and name in _TORCH:
            return _TORCH[name]
    return f"a {name} object{NO_CONFIG}"


def limits(metadata: Iterable[Any]) -> str:
    """`, 1 or more`: the limits in an Annotated or a pydantic field; empty if there are none."""
    names = ("ge", "gt", "le", "lt")
    bounds = {name: getattr(item, name) for item in metadata for name in names if getattr(item, name, None) is not None}
    return _LIMITS.get(tuple(sorted(bounds)), "").format(**bounds)


def mend(node: Node, annotation: Any) -> str:
    """`write 8, without quotes`; the empty text when nothing comes to mind."""
    kinds = {bare(kind) for kind in choices(bare(annotation))}
    value = node.value
    if isinstance(value, str):
        word = value.strip()
        if bool in kinds and word.lower() in (*_BOOLEANS, "true", "false"):
            return f"write {_BOOLEANS.get(word.lower(), word.lower())}"
        return _mend_number(word, kinds) if kinds & {int, float} else ""
    if type(value) is float and int in kinds and value == int(value):
        return f"write {int(value)}"
    return f'write "{node.text}", in quotes' if str in kinds and isinstance(value, bool | int | float) else ""


def _mend_number(word: str, kinds: set[Any]) -> str:
    plain = re.sub(r"(?<=\d)[_, ](?=\d{3})", "", word)
    try:
        value = scalar(plain)
    except ValueError:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    quotes = ", without quotes" if plain == word else ""
    if float in kinds or isinstance(value, int):
        return f"write {plain}{quotes}"
    return f"write {int(value)}{quotes}" if value == int(value) else ""
