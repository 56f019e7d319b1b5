"""Facts that arguments may name, `${data.num_classes}`, with types that are known before any data is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from base.config.nodes import Node, Place, dotted
from base.errors import Fault, did_you_mean, listing

FACTS: dict[str, tuple[str, Any]] = {
    "data.num_classes": ("a whole number", 10),
    "data.input_shape": ("a list of whole numbers", [1, 28, 28]),
    "data.class_counts": ("a list of whole numbers", [6000] * 10),
    "data.vocab_size": ("a whole number", 1000),
    "trainer.epochs": ("a whole number", 10),
    "trainer.total_steps": ("a whole number", 1000),
    "trainer.steps_per_epoch": ("a whole number", 100),
}
"""By name: the type in words, and a value of that type for arguments to be checked with."""
_FACT = re.compile(r"\$\{([^{}]*)\}")


def fact(value: Any) -> str | None:
    """The name in `${name}`; None for any other value."""
    match = _FACT.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def facts_at(place: Place) -> Collection[str]:
    """The facts that are known when the component at `place` is built."""
    if place[0] != "data":
        return FACTS
    if place[1] in ("train", "valid", "test"):
        return ()
    return [name for name in FACTS if name.startswith("data.") and name != "data.input_shape"]


def with_examples(value: Any) -> Any:
    """`value` with an example for every fact."""
    if isinstance(value, Mapping):
        return {key: with_examples(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_examples(item) for item in value]
    name = fact(value)
    return FACTS[name][1] if name in FACTS else value


def check_facts(node: Node, place: Place) -> list[Fault]:
    """Every `${...}` in the argument at `place` that stands for nothing there."""
    known = facts_at(place)
    return [
        Fault(item.origin, dotted((*place, *path)), *_wrong(item.value, known))
        for path, item in node.walk()
        if isinstance(item.value, str) and _FACT.search(item.value) and fact(item.value) not in known
    ]


def _wrong(text: str, known: Collection[str]) -> tuple[str, str, str, str]:
    """What, found, expected, hint."""
    name = fact(text)
    if name is None:
        return "a fact stands alone", text, "${name} and nothing beside it", ""
    if name not in FACTS:
        hint = did_you_mean(name, known) or (f"there are {listing(known, 'and')}" if known else "")
        return "no such fact", name, "", hint
    return "this fact is not known yet here", name, "", "write the value itself"
