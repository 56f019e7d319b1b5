"""The sections as data: which field holds which place of a config, and in words what it may hold."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from typing import Any, Literal, cast

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from base.config.kinds import Component, Section, Verdict
from base.config.nodes import Place
from base.config.sections import Settings
from base.config.words import choices, describe, limits
from base.errors import listing


def fields_along(place: Place) -> list[FieldInfo]:
    """The fields from the top to `place`, as far as the sections know its parts. A list index and the name of a data
    set stand for the field around them.
    """
    fields: list[FieldInfo] = []
    section: type[Section] | None = Settings
    for part in place:
        if section is not None and part in section.model_fields:
            fields.append(section.model_fields[str(part)])
            section = section_of(fields[-1].annotation)
        elif fields and (isinstance(part, int) or (section is not None and "dict[" in str(fields[-1].annotation))):
            fields.append(fields[-1])
        else:
            break
    return fields


def verdict_at(place: Place) -> Verdict:
    """The mark of the key at `place`, else of the nearest section around it, that is not the usual `force`."""
    marks = [cast(dict[str, Verdict], field.json_schema_extra)["resume"] for field in fields_along(place)[::-1]]
    return next((mark for mark in marks if mark != "force"), "force")


def field_at(place: Place) -> FieldInfo | None:
    """The field that holds the value at `place`; None for unknown keys, and inside `args`."""
    fields = fields_along(place)
    return fields[-1] if fields and len(fields) == len(place) else None


def section_at(place: Place) -> type[Section]:
    """The section whose keys stand at `place`."""
    field = field_at(place)
    section = section_of(field.annotation) if field else None
    return section or Settings


def section_of(annotation: Any) -> type[Section] | None:
    """The section that an annotation allows, be it in a list or under a name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := section_of(inner))), None)


@functools.cache
def homes() -> dict[str, list[str]]:
    """Every key but those of components, with the sections it belongs in."""
    found: dict[str, list[str]] = {}
    for name, home in _keys(Settings, ""):
        found.setdefault(name, []).append(home or "the top level")
    return found


def _keys(section: type[Section], home: str) -> Iterator[tuple[str, str]]:
    for name, field in section.model_fields.items():
        if name not in ("type", "args") and not (name == "name" and home):
            yield name, home
        inner = section_of(field.annotation)
        if inner is not None and inner is not Component:
            yield from _keys(inner, f"{home}.{name}".lstrip("."))


def nullable(field: FieldInfo) -> bool:
    return type(None) in choices(field.annotation)


def expected(place: Place) -> str:
    """What the key at `place` may hold: `a whole number, 1 or more, or off`; empty if no section knows it."""
    field = field_at(place)
    if field is None:
        return ""
    extra, section = field.json_schema_extra, section_of(field.annotation)
    if isinstance(place[-1], int) and section is not None:
        return listing(_described(section))
    if isinstance(extra, dict) and extra["expected"]:
        words = str(extra["expected"])
        return words.removeprefix("a list of ") if isinstance(place[-1], int) else words
    bounds = limits(field.metadata)
    described = [word for kind in choices(field.annotation) if kind is not type(None) for word in _described(kind)]
    described[-1] += f"{bounds}," if bounds and nullable(field) else bounds
    if nullable(field):
        described.append("off" if any(isinstance(item, BeforeValidator) for item in field.metadata) else "null")
    return listing(described)


def _described(annotation: Any) -> list[str]:
    section = section_of(annotation)
    if section is not None and issubclass(section, Component):
        one = "a name, or a mapping with type and args"
        return ["a list of names, or of mappings with type and args" if typing.get_origin(annotation) is tuple else one]
    if section is not None:
        return [f"a mapping with {listing(section.model_fields, 'and')}"]
    if typing.get_origin(annotation) is Literal:
        return [str(choice) for choice in typing.get_args(annotation)]
    return [describe(annotation)]
