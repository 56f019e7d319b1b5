"""The arguments of a component, bound to the signature of what they will call before anything is built."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from inspect import Parameter
from typing import Any

from base.config.annotations import Mismatch, fit
from base.config.facts import FACTS, check_facts, fact, with_examples
from base.config.keywords import parameters
from base.config.nodes import Node, Place, dotted
from base.config.ranges import with_range
from base.config.words import describe, mend
from base.errors import Fault, did_you_mean, listing

_ELSEWHERE = {
    "transform": "data.transform",
    "transforms": "data.transform",
    "target_transform": "data.target_transform",
    "fused": "optimizer.fused",
    "params": "optimizer.params",
}
"""Arguments that the program supplies, and the key that decides them."""


def convert(target: Callable[..., Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """`args` as the annotations of `target` ask for them: lists as tuples or tensors, texts as paths, enum members or
    registered functions. Raises Mismatch, a ValueError, where one does not fit.
    """
    known, _ = parameters(target)
    return {name: _convert(target, known[name], value) if name in known else value for name, value in args.items()}


def _convert(target: Any, parameter: Parameter, value: Any) -> Any:
    if value is None and parameter.default is None:  # `size: int = None` is common
        return None
    return fit(value, annotation(target, parameter), (parameter.name,))


def annotation(target: Any, parameter: Parameter) -> Any:
    """What a parameter asks for; without an annotation the type of its default."""
    asked, default = parameter.annotation, parameter.default
    if asked is Parameter.empty:
        asked = type(default) if type(default) in (bool, int, float, str, list, tuple, dict) else Any
    return with_range(parameter, target, asked)


def check(target: Callable[..., Any], component: Node, place: Place, supplied: Collection[str] = ()) -> list[Fault]:
    """Every argument of the component at `place` that `target` cannot be called with: unknown, missing, of a wrong
    type, or among those that the program supplies.
    """
    known, any_other = parameters(target)
    known = {name: p for name, p in known.items() if not name.startswith("_")}
    settable = {name: p for name, p in known.items() if name not in supplied}
    named, args = component.value["type"], component.at(("args",))
    given: Mapping[str, Node] = args.value if args is not None and args.is_map else {}
    faults: list[Fault] = []
    for name, node in given.items():
        where = (*place, "args", name)
        at = node.key_origin or node.origin
        if name in settable:
            faults += _check_value(target, settable[name], node, where)
        elif name in supplied:
            hint = f"write it in {_ELSEWHERE[name]}" if name in _ELSEWHERE else "remove it"
            faults.append(Fault(at, dotted(where), "is set by the program", hint=hint))
        elif not any_other:
            what = f"{named.value} has no such argument"
            takes = f"it takes {listing(settable, 'and') or 'none'}"
            faults.append(Fault(at, dotted(where), what, hint=did_you_mean(name, settable) or takes))
    for name, parameter in settable.items():
        if parameter.default is Parameter.empty and name not in given:
            asked = annotation(target, parameter)
            expected = "" if asked is Any else describe(asked)
            where = (*place, "args", name)
            faults.append(Fault(named.origin, dotted(where), f"{named.value} needs this argument", expected=expected))
    return faults


def _check_value(target: Any, parameter: Parameter, node: Node, place: Place) -> list[Fault]:
    faults = check_facts(node, place)
    if not faults:
        try:
            _convert(target, parameter, with_examples(node.plain()))
        except Mismatch as mismatch:
            faults.append(_fault(node, place, mismatch))
    return faults


def _fault(node: Node, place: Place, mismatch: Mismatch) -> Fault:
    path = mismatch.path[1:]
    item = node.at(path)
    while item is None:
        path = path[:-1]  # inside an example of a fact
        item = node.at(path)
    name = fact(item.value)
    found = f"{name}, {FACTS[name][0]}" if name else item.found()
    what = "has no value" if item.value is None else mismatch.what
    hint = mismatch.hint or mend(item, mismatch.annotation)
    return Fault(item.origin, dotted((*place, *path)), what, found, mismatch.expected, hint)
