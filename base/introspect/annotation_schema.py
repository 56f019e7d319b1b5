"""The JSON Schema of an argument's annotation."""

from __future__ import annotations

import collections.abc as abc
import enum
import json
import numbers
import os
import pathlib
import typing
from typing import Annotated, Any, Literal

from pydantic.fields import FieldInfo

from base.config.annotations import MAPPINGS, SEQUENCES, bare, choices
from base.config.arguments import FACTS

Schema = dict[str, Any]
REFERENCE: Schema = {"description": "the value of another key", "type": "string", "pattern": r"^\$\{[^{}]+\}$"}
"""Values that any key accepts."""
OPEN: Schema = {
    "description": "a fact, the value of another key, or null, which removes the value of a base config",
    "anyOf": [
        {"enum": [None, *(f"${{{name}}}" for name in FACTS)]},
        REFERENCE,
    ],
}
"""Values that any argument accepts."""
_SIMPLE: dict[Any, Schema] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    complex: {"type": "number"},
    numbers.Number: {"type": "number"},
    numbers.Real: {"type": "number"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def annotation_schema(annotation: Any, in_args: bool = False) -> Schema:
    """The schema of an annotation. With `in_args`, the definition `open` (OPEN) is allowed as well."""
    options = _options(annotation, in_args)
    if any(not option for option in options):
        return {}
    # Python caches unions of the same members, so their order depends on which was created first.
    options.sort(key=lambda option: (option == {"type": "null"}, json.dumps(option)))
    if in_args:
        options = [option for option in options if option != {"type": "null"}] + [{"$ref": "#/definitions/open"}]
    unique = [option for i, option in enumerate(options) if option not in options[:i]]
    if len(unique) == 1:
        return dict(unique[0])
    return {"anyOf": unique}


def _options(annotation: Any, in_args: bool) -> list[Schema]:
    if typing.get_origin(annotation) is Annotated:
        inner, *metadata = typing.get_args(annotation)
        limits = limits_schema(metadata)
        return [limited(option, limits) for option in _options(inner, in_args)]
    annotation = bare(annotation)
    kinds = choices(annotation)
    if len(kinds) > 1:
        return [option for kind in kinds for option in _options(kind, in_args)]
    origin, inner = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    if annotation is Any:
        return [{}]
    if annotation in _SIMPLE:
        return [dict(_SIMPLE[annotation])]
    if origin is Literal:
        return [{"enum": list(inner)}]
    if origin in SEQUENCES:
        return [_sequence(origin, inner, in_args)]
    if origin in MAPPINGS:
        item = annotation_schema(inner[1], in_args) if len(inner) == 2 else {}
        return [{"type": "object", **({"additionalProperties": item} if item else {})}]
    return _of_class(annotation, origin)


def _sequence(origin: Any, inner: tuple[Any, ...], in_args: bool) -> Schema:
    if origin is tuple and inner and inner[-1] is not Ellipsis:
        same = all(kind == inner[0] for kind in inner)
        items = annotation_schema(inner[0], in_args) if same else {}
        return {"type": "array", "minItems": len(inner), "maxItems": len(inner), **({"items": items} if items else {})}
    items = annotation_schema(inner[0], in_args) if inner else {}
    return {"type": "array", **({"items": items} if items else {})}


def _of_class(annotation: Any, origin: Any) -> list[Schema]:
    if origin is abc.Callable:
        return [{"type": "string", "description": "the name of a registered function"}]
    if not isinstance(annotation, type):
        return [{}]
    if issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation if isinstance(member.value, bool | int | float | str)]
        return [{"enum": list(dict.fromkeys([*(member.name for member in annotation), *values]))}]
    if issubclass(annotation, pathlib.PurePath) or annotation is os.PathLike:
        return [{"type": "string"}]
    if annotation.__module__ == "torch" and annotation.__name__ in ("dtype", "device"):
        return [{"type": "string"}]
    if annotation.__module__ == "torch" and annotation.__name__ == "Tensor":
        return [{"type": "number"}, {"type": "array"}]
    return []


def limits_schema(metadata: list[Any]) -> Schema:
    """`{"minimum": 1}` from the metadata of an Annotated or a pydantic field."""
    found: Schema = {}
    for item in metadata:
        if isinstance(item, FieldInfo):
            found |= limits_schema(item.metadata)
        for name, word in _LIMITS.items():
            if getattr(item, name, None) is not None:
                found[word] = getattr(item, name)
        if isinstance(getattr(item, "pattern", None), str):
            found["pattern"] = item.pattern
        if isinstance(getattr(item, "min_length", None), int):
            found["minLength"] = item.min_length
    return found


def limited(option: Schema, limits: Schema) -> Schema:
    """Limits apply to numbers, to the numbers in a list, and to text."""
    kind = option.get("type")
    words = ("pattern", "minLength")
    own = {word: value for word, value in limits.items() if (word in words) == (kind == "string")}
    if kind in ("integer", "number", "string"):
        return {**option, **own}
    if kind == "array" and "items" in option and option["items"].get("type") in ("integer", "number"):
        return {**option, "items": {**option["items"], **own}}
    if kind == "array" and "anyOf" in option.get("items", {}):
        return {**option, "items": {"anyOf": [limited(one, limits) for one in option["items"]["anyOf"]]}}
    return option
