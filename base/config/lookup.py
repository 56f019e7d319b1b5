"""Looks up key paths in the section models: their fields, and which of them hold components."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from typing import Any, Literal, cast

from pydantic.fields import FieldInfo

from base.config.annotations import choices
from base.config.document import Document, KeyPath
from base.config.fields import Section, Verdict, are_names
from base.config.keys import Settings


def _component_paths(section: type[Section], at: KeyPath) -> Iterator[tuple[KeyPath, tuple[str, ...], tuple[str, ...]]]:
    """Patterns of paths that hold components, with the symbols of their registries and the keys of one component."""
    for name, field in section.model_fields.items():
        symbols: tuple[str, ...] = cast(dict[str, Any], field.json_schema_extra)["registries"]
        shapes = list(_shapes(field.annotation))
        if symbols:
            yield from (((*at, name, *shape), symbols, tuple(inner.model_fields)) for shape, inner in shapes)
        for shape, inner in shapes:
            yield from _component_paths(inner, (*at, name, *shape))


def _shapes(annotation: Any) -> Iterator[tuple[KeyPath, type[Section]]]:
    """The sections that an annotation allows, each with the lists (`#`) and names (`*`) around it."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield (), annotation
    elif origin in (tuple, dict):
        around = "#" if origin is tuple else "*"
        yield from (((around, *shape), section) for shape, section in _shapes(inner[origin is dict]))
    elif inner and origin is not Literal:
        for one in inner[:1] if origin is typing.Annotated else inner:
            yield from _shapes(one)


_FOUND = list(_component_paths(Settings, ()))
COMPONENT_PATHS: dict[KeyPath, tuple[str, ...]] = {pattern: symbols for pattern, symbols, _ in _FOUND}
"""`#` is an index of a list, `*` a name. A component is looked up in the registries from left to right."""
KEYS_OF_ONE: dict[KeyPath, tuple[str, ...]] = {p: keys for p, _, keys in _FOUND if (*p, "*") in COMPONENT_PATHS}
"""Paths that hold one component or several by name, and the keys of one, which cannot be names."""


def _inside(value: Any, part: str | int, pattern: KeyPath) -> Iterator[tuple[str | int, Any]]:
    """The children of `value` that a part of a pattern matches; `pattern` is what precedes the part."""
    if part == "#":
        yield from enumerate(value) if isinstance(value, list) else ()
        yield from ((i, child) for i, child in value.items() if isinstance(i, int)) if isinstance(value, dict) else ()
    elif isinstance(value, dict):
        own = KEYS_OF_ONE.get(pattern, ("type", "args"))
        names = [name for name in value if name not in own] if part == "*" else [part] if part in value else []
        yield from ((name, value[name]) for name in names)


def component_paths(values: Any) -> list[tuple[KeyPath, Any, tuple[str, ...]]]:
    """Every place that may hold a component and holds something: its path, its value, the symbols of its registries
    (`"MODELS"`). `values` are those of a config; of an override, a mapping from indexes may stand for a list.
    """
    found = []
    for pattern, symbols in COMPONENT_PATHS.items():
        level: list[tuple[KeyPath, Any]] = [((), values)]
        for i, part in enumerate(pattern):
            level = [((*path, key), child) for path, value in level for key, child in _inside(value, part, pattern[:i])]
        found += [(path, value, symbols) for path, value in level]
    return found


def _matches(pattern: KeyPath, path: KeyPath) -> bool:
    if len(pattern) != len(path):
        return False
    for i, (asked, part) in enumerate(zip(pattern, path, strict=True)):
        own = KEYS_OF_ONE.get(pattern[:i], ("type", "args"))
        fits = asked == "#" if isinstance(part, int) else asked == part or (asked == "*" and part not in own)
        if not fits:
            return False
    return True


def registries_at(path: KeyPath) -> tuple[str, ...]:
    """The symbols of the registries for a component at this path; empty for other paths."""
    return next((symbols for pattern, symbols in COMPONENT_PATHS.items() if _matches(pattern, path)), ())


def components(document: Document) -> list[tuple[KeyPath, str, tuple[str, ...]]]:
    """Every component of a config: its path, its `type`, and the symbols of its registries. Keys beside a component's
    own keys are not taken for names of components.
    """
    around = ((path, own, document.get(path)) for path, own in KEYS_OF_ONE.items())
    mixed = [path for path, own, value in around if isinstance(value, dict) and not are_names(own, value)]
    return [
        (path, value["type"], symbols)
        for path, value, symbols in component_paths(document.values)
        if isinstance(value, dict) and isinstance(value.get("type"), str) and path[:-1] not in mixed
    ]


def named(document: Document, key: str) -> dict[str, KeyPath]:
    """The paths of the components at `key` (`model`) by name; a single one has the name of the key."""
    value = document.values.get(key)
    if value is None:
        return {}
    if isinstance(value, dict) and are_names(KEYS_OF_ONE[key,], value):
        return {name: (key, name) for name in value}
    return {key: (key,)}


def chains(document: Document) -> dict[str, list[KeyPath]]:
    """The paths of the links of every chain of schedules, by the names that `named` gives."""
    found: dict[str, list[KeyPath]] = {}
    for name, path in named(document, "lr_scheduler").items():
        value = document.get(path)
        links = [(*path, i) for i in range(len(value))] if isinstance(value, list) else []
        found[name] = links or ([path] if isinstance(value, dict) else [])
    return found


def of_another_kind(path: KeyPath, below: Any, above: Any) -> bool:
    """True if of two mappings at `path` one is a component and the other holds several by name."""
    if path == ("loss",) and "terms" in {*below, *above}:
        return ("type" in above and "terms" in below) or (isinstance(above.get("terms"), dict) and "type" in below)
    own = KEYS_OF_ONE.get(path)
    if own is None or are_names(own, below) == are_names(own, above):
        return False
    return "type" in above or all(
        isinstance(one, list) or (isinstance(one, dict) and "type" in one) for one in above.values()
    )


def fields_along(path: KeyPath) -> list[FieldInfo]:
    """The fields from the top to `path`, as far as the sections know its parts. An index of a list and a name count as
    the field around them.
    """
    fields: list[FieldInfo] = []
    section: type[Section] | None = Settings
    for part in path:
        if section is not None and part in section.model_fields:
            fields.append(section.model_fields[str(part)])
            section = section_of(fields[-1].annotation)
        elif fields and (isinstance(part, int) or (section is not None and "dict[" in str(fields[-1].annotation))):
            fields.append(fields[-1])
        else:
            break
    return fields


def verdict_at(path: KeyPath) -> Verdict:
    """What a change of the key at `path` means for a resumed run; `force` unless it or a section around says more."""
    marks = [cast(dict[str, Verdict], field.json_schema_extra)["resume"] for field in fields_along(path)[::-1]]
    return next((mark for mark in marks if mark != "force"), "force")


def field_at(path: KeyPath) -> FieldInfo | None:
    """The field that holds the value at `path`; None for unknown keys, and inside `args`."""
    fields = fields_along(path)
    return fields[-1] if fields and len(fields) == len(path) else None


def section_of(annotation: Any) -> type[Section] | None:
    """The section that an annotation allows, be it in a list or under a name."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in typing.get_args(annotation) if (found := section_of(inner))), None)


def nullable(field: FieldInfo) -> bool:
    return type(None) in choices(field.annotation)
