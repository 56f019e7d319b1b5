"""Plain values of a config against the annotations of Python: do they fit, and what do they become."""

from __future__ import annotations

import collections.abc as abc
import enum
import numbers
import operator
import os
import pathlib
import types
import typing
from typing import Annotated, Any, Literal, Union

from base.config.nodes import Place, dotted
from base.config.words import MAPPINGS, SEQUENCES, bare, choices, describe
from base.errors import did_you_mean


class Mismatch(ValueError):
    """The value at `path` inside an argument does not fit `annotation`; `expected` says what would."""

    def __init__(self, path: Place, annotation: Any, hint: str = "", what: str = "does not fit") -> None:
        self.path, self.annotation, self.hint, self.what = path, annotation, hint, what
        self.expected = describe(annotation)
        super().__init__(f"{dotted(path)} {what}; expected {self.expected}")


def fit(value: Any, annotation: Any, path: Place = ()) -> Any:
    """`value` as `annotation` asks for it: lists become tuples or tensors, texts become paths, enum members, dtypes
    or, for a Callable, the registered function of that name. Scalars stay what they are, but for an int where a float
    is asked for. Raises Mismatch; also for a number out of the limits of an `Annotated`.
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


def _fit_annotated(value: Any, annotation: Any, path: Place) -> Any:
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
    """True unless `value` is a number outside a limit that `metadata` may hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return True
    compare = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    bounds = [(holds, getattr(limit, name, None)) for limit in metadata for name, holds in compare.items()]
    return all(bound is None or holds(value, bound) for holds, bound in bounds)


def _fit_union(value: Any, annotation: Any, path: Place) -> Any:
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


def _fit_sequence(value: Any, annotation: Any, origin: Any, path: Place) -> Any:
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


def _fit_mapping(value: Any, annotation: Any, path: Place) -> Any:
    if not isinstance(value, abc.Mapping):
        raise Mismatch(path, annotation)
    inner = typing.get_args(annotation)
    kind = inner[1] if len(inner) == 2 else Any
    return {key: fit(item, kind, (*path, key)) for key, item in value.items()}


def _fit_callable(value: Any, annotation: Any, path: Place) -> Any:
    from base.registry import FUNCTIONS, BrokenFile, UnknownName

    if not isinstance(value, str):
        raise Mismatch(path, annotation)
    try:
        return FUNCTIONS.get(value)
    except UnknownName as unknown:
        hint = did_you_mean(value, unknown.known) or "decorate yours with @FUNCTIONS.register"
        raise Mismatch(path, annotation, hint) from None
    except BrokenFile as broken:
        raise Mismatch(path, annotation, str(broken)) from None


def _fit_scalar(value: Any, annotation: Any, path: Place) -> Any:
    if annotation is float and type(value) is int:
        return float(value)
    if annotation in (numbers.Number, numbers.Real, complex):
        fits = type(value) in (int, float)
    elif annotation in (bool, int, float, str, type(None)):
        fits = type(value) is annotation
    elif not isinstance(annotation, type):  # an annotation of a kind that Python has added since
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


def _member(value: Any, annotation: type[enum.Enum], path: Place) -> enum.Enum:
    for member in annotation:
        if value is member or value == member.name or (type(value) is type(member.value) and value == member.value):
            return member
    raise Mismatch(path, annotation, hint=did_you_mean(value, annotation.__members__))


def _fit_torch(value: Any, annotation: type, path: Place) -> Any:
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
