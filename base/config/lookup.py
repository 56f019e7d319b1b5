"""Questions to the section models: which field holds a key path, what it may hold, and where components stand."""

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
"""Where one component may stand or several by name, and the keys of one, which are therefore no names."""


def _inside(value: Any, part: str | int, pattern: KeyPath) -> Iterator[tuple[str | int, Any]]:
    """What stands in `value` under a part of a pattern, `pattern` being the part before it."""
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
    """The symbols of the registries that a component at this path comes from; none for other paths."""
    return next((symbols for pattern, symbols in COMPONENT_PATHS.items() if _matches(pattern, path)), ())


def components(document: Document) -> list[tuple[KeyPath, str, tuple[str, ...]]]:
    """Every component of a config: its path, its `type`, and the symbols of the registries that it may come from. Left
    out are keys that only look like a name, standing beside a component's own keys.
    """
    around = ((path, own, document.get(path)) for path, own in KEYS_OF_ONE.items())
    mixed = [path for path, own, value in around if isinstance(value, dict) and not are_names(own, value)]
    return [
        (path, value["type"], symbols)
        for path, value, symbols in component_paths(document.values)
        if isinstance(value, dict) and isinstance(value.get("type"), str) and path[:-1] not in mixed
    ]


def named(document: Document, key: str) -> dict[str, KeyPath]:
    """The path of the component at `key` (`model`), under the key's own name; of several each under its own."""
    value = document.values.get(key)
    if value is None:
        return {}
    if isinstance(value, dict) and are_names(KEYS_OF_ONE[key,], value):
        return {name: (key, name) for name in value}
    return {key: (key,)}


def chains(document: Document) -> dict[str, list[KeyPath]]:
    """The links of every schedule by the schedule's name as `named` gives it."""
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
    """The fields from the top to `path`, as far as the sections know its parts. A list index and the name of a data
    set stand for the field around them.
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
    """The mark of the key at `path`, else of the nearest section around it, that is not the usual `force`."""
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
