"""Turns pydantic's errors into faults with their places. Only imported if there is one, and for the reference pages."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pydantic
from pydantic import BeforeValidator

from base.config.annotations import choices, describe, limits, suggest_fix
from base.config.document import Document, KeyPath, dotted
from base.config.fields import Component, Section
from base.config.keys import Settings
from base.config.lookup import field_at, nullable, section_of
from base.errors import Fault, listing, suggest

_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_WHAT = {"literal_error": "no such choice", **dict.fromkeys(_RANGE, "is out of range")}
"""By pydantic's type of error; all others are values of the wrong type."""


def section_faults(document: Document, errors: pydantic.ValidationError) -> list[Fault]:
    """One fault for each path with errors: its first."""
    faults: dict[KeyPath, Fault] = {}
    for error in errors.errors(include_url=False, include_context=False):
        path = _path(document, error)
        faults.setdefault(path, _fault(document, path, error))
    return list(faults.values())


def _path(document: Document, error: Any) -> KeyPath:
    """The path of the error, without the tags of union members that pydantic adds."""
    path: KeyPath = ()
    for part in error["loc"]:
        if (*path, part) in document.sources or (error["type"] == "missing" and part == error["loc"][-1]):
            path = (*path, part)
    return path


def _fault(document: Document, path: KeyPath, error: Any) -> Fault:
    key, kind, source = dotted(path), error["type"], document.sources.get(path)
    if source is None:
        section = document.sources.get(path[:-1]) or document.sources[()]
        return Fault(section.key_origin, key, "missing", expected=expected(path))
    if kind == "extra_forbidden":
        return Fault(source.key_origin, key, "unknown key", hint=_belongs(path))
    if error["loc"][-1] == "[key]":
        return Fault(source.key_origin, key, "not a name", expected="letters, digits and '_', beginning with a letter")
    if document.get(path) is None:
        return Fault(source.origin, key, "has no value", source.text, expected(path))
    what, hint = _WHAT.get(kind, "does not fit"), _likely_fix(document, path)
    return Fault(source.origin, key, what, document.found(path), expected(path), hint)


def _likely_fix(document: Document, path: KeyPath) -> str:
    value, text, field = document.get(path), document.sources[path].text, field_at(path)
    annotation = field.annotation if field else Any
    if typing.get_origin(annotation) is tuple and not isinstance(path[-1], int) and not isinstance(value, dict):
        return f"write [{text}]"
    return suggest_fix(value, text, annotation)


def _belongs(path: KeyPath) -> str:
    """Where an unknown key belongs, or which key was probably meant."""
    key, section = str(path[-1]), _section_at(path[:-1])
    if key in _homes():
        return f"it belongs in {listing(_homes()[key])}"
    if "." in key:
        return "in a file each part of a path is a mapping of its own"
    if nearest := suggest(key, section.model_fields):
        return f"did you mean {nearest!r}?"
    if issubclass(section, Component):
        return f"if it is an argument, write it in {dotted((*path[:-1], 'args'))}"
    if nearest := suggest(key, _homes()):
        return f"did you mean {listing(f'{home}.{nearest}' for home in _homes()[nearest])}?"
    if section is Settings:
        return "keys of your own go in project"
    return f"there are {listing(section.model_fields, 'and')}"


def _section_at(path: KeyPath) -> type[Section]:
    """The section whose keys stand at `path`."""
    field = field_at(path)
    section = section_of(field.annotation) if field else None
    return section or Settings


@functools.cache
def _homes() -> dict[str, list[str]]:
    """The sections in which each key may stand, without the keys of components."""
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


def expected(path: KeyPath) -> str:
    """What the key at `path` may hold: `a whole number, 1 or more, or off`; empty if no section knows it."""
    field = field_at(path)
    if field is None:
        return ""
    extra, section = field.json_schema_extra, section_of(field.annotation)
    if isinstance(path[-1], int) and section is not None:
        return listing(_described(section))
    if isinstance(extra, dict) and extra["expected"]:
        words = str(extra["expected"])
        return words.removeprefix("a list of ") if isinstance(path[-1], int) else words
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
