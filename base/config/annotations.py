"""Converts plain values to what Python annotations ask for, and describes annotations in words."""

from __future__ import annotations

import collections.abc as abc
import enum
import inspect
import numbers
import operator
import os
import pathlib
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union

from base.config.document import KeyPath, dotted
from base.config.reader import flow, scalar
from base.errors import did_you_mean, listing
from base.registry import FUNCTIONS, BrokenFile, UnknownName

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


class Mismatch(ValueError):
    """The value at `path` inside an argument does not fit `annotation`; `expected` says what would."""

    def __init__(self, path: KeyPath, annotation: Any, hint: str = "", what: str = "does not fit") -> None:
        self.path, self.annotation, self.hint, self.what = path, annotation, hint, what
        self.expected = describe(annotation)
        super().__init__(f"{dotted(path)} {what}; expected {self.expected}")


def fit(value: Any, annotation: Any, path: KeyPath = ()) -> Any:
    """Converts `value` to the type `annotation`: lists become tuples or tensors; strings become paths, enum members,
    dtypes or, for a Callable, the registered function of that name; an int becomes a float where one is asked for.
    No other scalar is converted. Raises Mismatch, also for a number outside the limits of an `Annotated`.
    """
    if typing.get_origin(annotation) is Annotated:
        return _fit_annotated(value, annotation, path)
    annotation = bare(annotation)
    origin = typing.get_origin(annotation) or annotation
    if annotation is Any:
        return value
    if origin in (Union, types.UnionType):
        return _fit_union(value, annotation, path)
    if origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in typing.get_args(annotation)):
            return value
        raise Mismatch(path, annotation, hint=did_you_mean(value, map(str, typing.get_args(annotation))))
    if origin in SEQUENCES:
        return _fit_sequence(value, annotation, origin, path)
    if origin in MAPPINGS:
        return _fit_mapping(value, annotation, path)
    if origin is abc.Callable:
        return _fit_callable(value, annotation, path)
    return _fit_scalar(value, origin, path)


def _fit_annotated(value: Any, annotation: Any, path: KeyPath) -> Any:
    inner, *metadata = typing.get_args(annotation)
    try:
        value = fit(value, inner, path)
    except Mismatch as failure:
        raise Mismatch(path, annotation, failure.hint) if failure.path == path else failure from None
    for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
        if not _within(item, metadata):
            raise Mismatch((*path, i), Annotated[(float, *metadata)], what="is out of range")
    if not _within(value, metadata):
        raise Mismatch(path, annotation, what="is out of range")
    return value


def _within(value: Any, metadata: list[Any]) -> bool:
    """False if `value` is a number outside a limit in `metadata`."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    compare = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    bounds = [(holds, getattr(limit, name, None)) for limit in metadata for name, holds in compare.items()]
    return all(bound is None or holds(value, bound) for holds, bound in bounds)


def _fit_union(value: Any, annotation: Any, path: KeyPath) -> Any:
    kinds = choices(annotation)
    exact = [kind for kind in kinds if type(value) is kind]
    failures: list[Mismatch] = []
    for kind in (*exact, *kinds):
        try:
            return fit(value, kind, path)
        except Mismatch as failure:
            failures.append(failure)
    deepest = max(failures, key=lambda failure: len(failure.path))
    if len(deepest.path) > len(path):
        raise deepest
    raise Mismatch(path, annotation, hint=next((failure.hint for failure in failures if failure.hint), ""))


def _fit_sequence(value: Any, annotation: Any, origin: Any, path: KeyPath) -> Any:
    if not isinstance(value, list | tuple):
        raise Mismatch(path, annotation)
    kinds = typing.get_args(annotation)
    if origin is tuple and kinds and kinds[-1] is not Ellipsis:
        if len(kinds) != len(value):
            raise Mismatch(path, annotation)
    else:
        kinds = kinds[:1] * len(value) or (Any,) * len(value)
    items = [fit(item, kind, (*path, i)) for i, (item, kind) in enumerate(zip(value, kinds, strict=True))]
    made = {tuple: tuple, set: set, abc.Set: set, frozenset: frozenset}
    return made.get(origin, list)(items)


def _fit_mapping(value: Any, annotation: Any, path: KeyPath) -> Any:
    if not isinstance(value, abc.Mapping):
        raise Mismatch(path, annotation)
    inner = typing.get_args(annotation)
    kind = inner[1] if len(inner) == 2 else Any
    return {key: fit(item, kind, (*path, key)) for key, item in value.items()}


def _fit_callable(value: Any, annotation: Any, path: KeyPath) -> Any:
    if not isinstance(value, str):
        raise Mismatch(path, annotation)
    try:
        return FUNCTIONS.get(value)
    except UnknownName as unknown:
        hint = did_you_mean(value, unknown.known) or "decorate yours with @FUNCTIONS.register"
        raise Mismatch(path, annotation, hint) from None
    except BrokenFile as broken:
        raise Mismatch(path, annotation, str(broken)) from None


def _fit_scalar(value: Any, annotation: Any, path: KeyPath) -> Any:
    if annotation is float and type(value) is int:
        return float(value)
    if annotation in (numbers.Number, numbers.Real, complex):
        fits = type(value) in (int, float)
    elif annotation in (bool, int, float, str, type(None)):
        fits = type(value) is annotation
    elif not isinstance(annotation, type):  # a kind of annotation that is newer than this code
        return value
    elif isinstance(value, str) and (issubclass(annotation, pathlib.PurePath) or annotation is os.PathLike):
        return pathlib.Path(value)
    elif issubclass(annotation, enum.Enum):
        return _member(value, annotation, path)
    elif annotation.__module__ == "torch" and annotation.__name__ in ("Tensor", "dtype", "device"):
        return _fit_torch(value, annotation, path)
    else:
        fits = isinstance(value, annotation)
    if not fits:
        raise Mismatch(path, annotation)
    return value


def _member(value: Any, annotation: type[enum.Enum], path: KeyPath) -> enum.Enum:
    for member in annotation:
        if value is member or value == member.name or (type(value) is type(member.value) and value == member.value):
            return member
    raise Mismatch(path, annotation, hint=did_you_mean(value, annotation.__members__))


def _fit_torch(value: Any, annotation: type, path: KeyPath) -> Any:
    import torch

    if isinstance(value, annotation):
        return value
    if annotation is torch.Tensor and isinstance(value, int | float | list | tuple) and not isinstance(value, bool):
        try:
            return torch.tensor(value, dtype=torch.get_default_dtype())
        except (TypeError, ValueError):
            raise Mismatch(path, annotation) from None
    if annotation is torch.device and isinstance(value, str):
        try:
            return torch.device(value)
        except RuntimeError:
            raise Mismatch(path, annotation) from None
    dtype = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else None
    if annotation is torch.dtype and isinstance(dtype, torch.dtype):
        return dtype
    raise Mismatch(path, annotation)


def bare(annotation: Any) -> Any:
    """The annotation without aliases and metadata; Any if it cannot be checked."""
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
    """The limits in an Annotated or a pydantic field, such as `, 1 or more`; empty if there are none."""
    names = ("ge", "gt", "le", "lt")
    bounds = {name: getattr(item, name) for item in metadata for name in names if getattr(item, name, None) is not None}
    return _LIMITS.get(tuple(sorted(bounds)), "").format(**bounds)


def suggest_fix(value: Any, text: str, annotation: Any) -> str:
    """A likely fix that fits, such as `write 8, without quotes`; empty if there is none. `text` is the value as
    written.
    """
    for words, meant in _rewritten(value, text):
        if fits(meant, annotation):
            return f"write {words}"
    return ""


def fits(value: Any, annotation: Any) -> bool:
    """True if `fit` takes the value, and the pattern of an `Annotated` matches it."""
    if isinstance(value, list) and bare(annotation) in SEQUENCES:
        return False  # how many of what is not known
    try:
        fit(value, annotation)
    except Mismatch:
        return False
    metadata = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
    patterns = [item.pattern for item in metadata if isinstance(getattr(item, "pattern", None), str)]
    return all(isinstance(value, str) and re.search(pattern, value) for pattern in patterns)


def _rewritten(value: Any, text: str) -> Iterator[tuple[str, Any]]:
    """What may be meant by `value`: how to write it, and the value that is then read."""
    if isinstance(value, str):
        yield from _of_text(value.strip())
    elif isinstance(value, bool | int | float):
        if type(value) is float and value == int(value):
            yield str(int(value)), int(value)
        yield f'"{text}", in quotes', text
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield f"[{text}]", [value]


def _of_text(word: str) -> Iterator[tuple[str, Any]]:
    if (boolean := _BOOLEANS.get(word.lower(), word.lower())) in ("true", "false"):
        yield boolean, boolean == "true"
    plain = re.sub(r"(?<=\d)[_, ](?=\d{3}(\D|$))", "", word)
    quotes = ", without quotes" if plain == word else ""
    number = _number(plain)
    if number is not None:
        yield f"{plain}{quotes}", number
        if type(number) is float and number == int(number):
            yield str(int(number)), int(number)
    if re.fullmatch(r"-?\d+,\d+", word) and (number := _number(word.replace(",", "."))) is not None:
        yield word.replace(",", "."), number
    if word.endswith("%") and (number := _number(word[:-1].strip())) is not None:
        yield f"{number / 100:g}", float(f"{number / 100:g}")
    inner = word[1:-1] if word[:1] + word[-1:] in ("()", "[]") else word if "," in word else ""
    if inner:
        items = [_plain(item.strip()) for item in inner.strip(", ").split(",")]
        yield flow(items), items
    if word in ("None", "none", "nil"):
        yield "null", None


def _plain(word: str) -> Any:
    try:
        return scalar(word)
    except ValueError:
        return word


def _number(word: str) -> int | float | None:
    value = _plain(word)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
