"""The fixed sections of a config against their models; pydantic's errors in our words, at their places."""

from __future__ import annotations

import typing
from dataclasses import replace
from typing import Any

import pydantic

from base.config.kinds import Component
from base.config.nodes import Node, Place, dotted
from base.config.schema import expected, field_at, homes, nullable, section_at
from base.config.sections import Settings
from base.config.words import mend
from base.errors import Fault, listing, suggest

_RANGE = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_WHAT = {"literal_error": "no such choice", **dict.fromkeys(_RANGE, "is out of range")}
"""By pydantic's kind of error; the others are values of the wrong type."""


def check_sections(tree: Node) -> tuple[Settings | None, list[Fault]]:
    """The settings that a tree holds, or None and all that is wrong with its sections."""
    try:
        return Settings.model_validate(tree.plain()), []
    except pydantic.ValidationError as errors:
        faults: dict[Place, Fault] = {}
        for error in errors.errors(include_url=False, include_context=False):
            place = _place(tree, error)
            faults.setdefault(place, _fault(tree, place, error))
        return None, list(faults.values())


def without_removed(node: Node, place: Place = ()) -> Node:
    """The tree without the keys that a `null` removed: where one covers a value and is no value itself."""
    if not node.is_map:
        return node
    kept = {key: child for key, child in node.value.items() if not _removed(child, (*place, key))}
    return replace(node, value={key: without_removed(child, (*place, key)) for key, child in kept.items()})


def _removed(node: Node, place: Place) -> bool:
    field = field_at(place)
    covers = any(below.value is not None for below in node.shadowed)
    return node.value is None and covers and not (field and nullable(field))


def _place(tree: Node, error: Any) -> Place:
    """Where the error is, without the names of alternatives that pydantic adds."""
    place: Place = ()
    for part in error["loc"]:
        if tree.at((*place, part)) is not None or (error["type"] == "missing" and part == error["loc"][-1]):
            place = (*place, part)
    return place


def _fault(tree: Node, place: Place, error: Any) -> Fault:
    key, node, kind = dotted(place), tree.at(place), error["type"]
    if node is None:
        section = tree.at(place[:-1]) or tree
        return Fault(section.key_origin or section.origin, key, "missing", expected=expected(place))
    at_key = node.key_origin or node.origin
    if kind == "extra_forbidden":
        return Fault(at_key, key, "unknown key", hint=_belongs(place))
    if error["loc"][-1] == "[key]":
        return Fault(at_key, key, "not a name", expected="letters, digits and '_', beginning with a letter")
    if node.value is None:
        return Fault(node.origin, key, "has no value", node.text, expected(place))
    what = _WHAT.get(kind, "does not fit")
    return Fault(node.origin, key, what, node.found(), expected(place), _mended(node, place))


def _mended(node: Node, place: Place) -> str:
    field = field_at(place)
    annotation = field.annotation if field else Any
    if typing.get_origin(annotation) is tuple and not isinstance(place[-1], int) and not node.is_map:
        return f"write [{node.text}]"
    return mend(node, annotation)


def _belongs(place: Place) -> str:
    """Where an unknown key was meant to stand, or what it was meant to be."""
    key, section = str(place[-1]), section_at(place[:-1])
    if key in homes():
        return f"it belongs in {listing(homes()[key])}"
    if "." in key:
        return "in a file each part of a path is a mapping of its own"
    if nearest := suggest(key, section.model_fields):
        return f"did you mean {nearest!r}?"
    if issubclass(section, Component):
        return f"if it is an argument, write it in {dotted((*place[:-1], 'args'))}"
    if nearest := suggest(key, homes()):
        return f"did you mean {listing(f'{home}.{nearest}' for home in homes()[nearest])}?"
    if section is Settings:
        return "keys of your own go in project"
    return f"there are {listing(section.model_fields, 'and')}"
