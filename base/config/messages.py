"""Turns pydantic's errors into faults with their places. Only imported if there is one, and for the reference pages."""

from __future__ import annotations

import contextlib
import functools
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pydantic
from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from base.config.annotations import choices, describe, limits, suggest_fix
from base.config.document import Document, KeyPath, dotted
from base.config.fields import Component, Section
from base.config.keys import Settings
from base.config.lookup import field_at, nullable, section_of
from base.config.reader import flow
from base.errors import Fault, listing, suggest

_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_WHAT = {"literal_error": "no such choice", **dict.fromkeys(_RANGE, "is out of range")}
"""By pydantic's type of error; all others are values of the wrong type."""


def section_faults(document: Document, errors: pydantic.ValidationError) -> list[Fault]:
    """One fault for each path with errors, its first; and one for each cause."""
    found: dict[KeyPath, Any] = {}
    for error in errors.errors(include_url=False, include_context=False):
        found.setdefault(_path(document, error), error)
    unknown = [path for path, error in found.items() if error["type"] == "extra_forbidden"]
    meant = {target for path in unknown for target in _meant(path)}
    faults: dict[KeyPath, Fault] = {path: _fault(document, path, error) for path, error in found.items()}
    for path in found:
        if path in document.sources:
            continue
        beside = [other for other in unknown if other[:-1] == path[:-1]]
        if path[-1] == "type" and len(beside) == 1 and _is_name(document, beside[0]):
            meant.discard(dotted(path))
        if any(target == dotted(path) or target.startswith(dotted(path) + ".") for target in meant):
            del faults[path]  # what is missing stands there under another name
        elif path[-1] == "type" and (hint := _without_type(document, path[:-1], beside)):
            faults = {other: fault for other, fault in faults.items() if other not in beside}
            faults[path] = replace(faults[path], hint=hint)
    return list(faults.values())


def _without_type(document: Document, component: KeyPath, unknown: list[KeyPath]) -> str:
    """How to write a component whose `type` is missing: as a key, or with the arguments beside it."""
    around, names = document.get(component), [str(path[-1]) for path in unknown]
    if not isinstance(around, dict) or not names or "args" in around:
        return ""
    if len(around) == 1 and _is_name(document, unknown[0]):
        name, args = names[0], around[names[0]]
    elif str(component[-1])[:1].isupper():
        name, args = str(component[-1]), around
    else:
        name, args = "...", {name: around[name] for name in names}
    text = f"{{type: {name}, args: {flow(args)}}}" if isinstance(args, dict) and args else f"{{type: {name}}}"
    return f"write {text}" if len(text) < 100 else "write {type: ..., args: {...}}"


def _is_name(document: Document, path: KeyPath) -> bool:
    """True for the key of `MLP: {hidden: 3}`, which is meant as a type."""
    return str(path[-1])[:1].isupper() and isinstance(document.get(path), dict)


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
    if typing.get_origin(annotation) is tuple and isinstance(value, dict) and "type" in value:
        return f"write [{flow(value)}]" if len(flow(value)) < 100 and value["type"] != "Compose" else "write a list"
    section = section_of(annotation)
    if section is not None and not issubclass(section, Component) and not isinstance(value, dict | list):
        return _inside(section, value, text)
    if path == ("trainer", "monitor"):
        return _monitor(document, value)
    if path == ("trainer", "early_stop") and isinstance(value, dict) and type(value.get("patience")) is int:
        return f"write {value['patience']}"
    if path == ("device",):
        several = isinstance(value, list) and len(value) > 1
        return "one process trains on one device: write cuda" if several else "write cuda" if _is_gpu(value) else ""
    if field is not None and isinstance(value, str) and nullable(field) and value.lower() in _NO:
        return "write off" if _has_off(field) else "write null"
    if field is not None and isinstance(value, str) and value.lower() in _NO and not field.is_required():
        return "remove the key for its default"
    if typing.get_origin(annotation) is Literal and (word := _PRECISIONS.get(str(value).lower())):
        return f"write {word}"
    return suggest_fix(value, text, typing.Annotated[(annotation, *field.metadata, "")] if field else annotation)


def _is_gpu(value: Any) -> bool:
    return value in (0, "0", [0]) or str(value).lower() in ("gpu", "nvidia", "cuda:all")


_PRECISIONS = {"16": "fp16", "32": "fp32", "64": "fp64", "16-mixed": "fp16", "bf16-mixed": "bf16", "true": "fp16"}
_PRECISIONS |= {"float16": "fp16", "half": "fp16", "bfloat16": "bf16", "float32": "fp32", "double": "fp64"}
_NO = ("none", "no", "never", "disabled", "null", "false", "nil")


def _inside(section: type[Section], value: Any, text: str) -> str:
    """`write {norm: 1.0} or {value: 1.0}` for a bare 1.0: the keys of the section that take the value."""
    if value is True:
        with contextlib.suppress(pydantic.ValidationError):
            return f"write {flow(section().model_dump(mode='json'))}"
    fitting = []
    for name in section.model_fields:
        with contextlib.suppress(pydantic.ValidationError):
            section.model_validate({name: value})
            fitting.append(f"{{{name}: {text}}}")
    return f"write {listing(fitting)}" if fitting and value is not False else ""


def _monitor(document: Document, value: Any) -> str:
    from base.config.plausibility import direction

    modes = {"minimize": "min", "maximize": "max"}
    name, mode = value, ""
    if isinstance(value, dict):
        name = next((value[key] for key in ("name", "monitor", "metric", "value") if key in value), None)
        mode = str(value.get("mode", ""))
    if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
        return ""
    mode = modes.get(mode, mode) if mode in ("min", "max", *modes) else direction(document, name)
    return f"write {mode} {name}" if mode else f"write min {name} or max {name}"


def _belongs(path: KeyPath) -> str:
    """Where an unknown key belongs, or which key was probably meant."""
    from base.config.near_misses import ADVICE

    key, section = str(path[-1]), _section_at(path[:-1])
    if "." in key:
        return "in a file each part of a path is a mapping of its own"
    if key.lower() in ADVICE:
        return ADVICE[key.lower()]
    if homes := _meant(path):
        inside = dotted(path[:-1])
        parts = [home.rpartition(".")[2] for home in homes if home.rpartition(".")[0] == inside]
        if parts:
            return f"did you mean {parts[0]!r}?"
        same = all(home.rpartition(".")[2] == key for home in homes)
        where = [home.rpartition(".")[0] or "the top level" for home in homes]
        return f"it belongs in {listing(where)}" if same else f"here it is {listing(homes)}"
    if issubclass(section, Component):
        return f"if it is an argument, write it in {dotted((*path[:-1], 'args'))}"
    if section is Settings:
        return "keys of your own go in project"
    return f"there are {listing(section.model_fields, 'and')}"


def _meant(path: KeyPath) -> list[str]:
    """The dotted paths of the keys that an unknown one may stand for: a key of the same section spelt otherwise, one
    that others call so, the same key in another section, one spelt otherwise there.
    """
    key, section = str(path[-1]), _section_at(path[:-1])
    if "." in key:
        return []
    if nearest := suggest(key, section.model_fields, cutoff=0.8):
        return [dotted((*path[:-1], nearest))]
    from base.config.near_misses import OURS

    ours = OURS.get(key.lower(), "")
    if ours in ("type", "args"):
        return [dotted((*path[:-1], ours))] if issubclass(section, Component) else []
    if ours and not (".args." in ours and issubclass(section, Component)):
        return [ours]
    if key in _homes():
        return _homes()[key]
    if nearest := suggest(key, section.model_fields):
        return [dotted((*path[:-1], nearest))]
    if issubclass(section, Component):
        return []
    nearest = suggest(key, _homes(), cutoff=0.75)
    return _homes()[nearest] if nearest else []


def _section_at(path: KeyPath) -> type[Section]:
    """The section whose keys stand at `path`."""
    field = field_at(path)
    section = section_of(field.annotation) if field else None
    return section or Settings


@functools.cache
def _homes() -> dict[str, list[str]]:
    """The dotted paths that end in each key, without the keys of components."""
    found: dict[str, list[str]] = {}
    for name, home in _keys(Settings, ""):
        found.setdefault(name, []).append(f"{home}.{name}".lstrip("."))
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
        described.append("off" if _has_off(field) else "null")
    return listing(described)


def _has_off(field: FieldInfo) -> bool:
    return any(isinstance(item, BeforeValidator) for item in field.metadata)


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
