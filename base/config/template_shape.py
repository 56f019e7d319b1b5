"""Configs of pytorch-template, read as ours: what has another name or shape there gets ours, values keep their places.
Keys that only the project knows are kept under `project`, so that nothing after the reading has two cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from base.config.nodes import Node, Place, dotted
from base.errors import Fault

if TYPE_CHECKING:
    from base.config.kinds import Section

Keys = tuple[str, ...]
RENAMED: dict[str, Keys] = {"arch": ("model",), "data_loader": ("data", "train")}
"""Their top-level names, and where ours stand."""
SPLIT = "split"
"""`data.valid` of a loader that sets its validation part aside itself."""


def is_template_shaped(tree: Node) -> bool:
    """True of a file with `arch`, or with `data_loader` as a component."""
    loader = tree.at(("data_loader",))
    return "arch" in tree or (loader is not None and (isinstance(loader.value, str) or "type" in loader))


def from_template(tree: Node, faults: list[Fault]) -> tuple[Node, list[str]]:
    """The layer in our shape, and the dotted names of the keys of the project's own."""
    from base.config.sections import Settings

    both = [theirs for theirs, ours in RENAMED.items() if theirs in tree and tree.at(ours) is not None]
    for theirs in both:
        hint = f"it is the same as {dotted(RENAMED[theirs])}, which is there too; keep one of them"
        faults.append(Fault(tree.value[theirs].key_origin or tree.origin, theirs, "given twice", hint=hint))
    layer = _renamed(tree)
    found: list[tuple[Place, Node]] = []
    layer = _without_knobs(layer, Settings, (), found, faults)
    for place, knob in found:
        layer = _put(layer, ("project", *map(str, place)), knob)
    return _reshaped(layer), [dotted(place) for place, _ in found]


def _renamed(tree: Node) -> Node:
    layer = replace(tree, value={key: node for key, node in tree.value.items() if key not in RENAMED})
    for theirs, ours in RENAMED.items():
        if theirs in tree:
            layer = _put(layer, ours, tree.value[theirs])
    loader = tree.at(("data_loader",))
    if loader is not None and layer.at(("data", "valid")) is None:
        share = loader.at(("args", "validation_split"))
        if share is None or share.value not in (0, None):
            layer = _put(layer, ("data", "valid"), Node(SPLIT, loader.origin, loader.key_origin, SPLIT))
    return layer


def _put(tree: Node, place: Keys, node: Node) -> Node:
    """The tree with `node` at `place`; mappings on the way are made where `node` was written."""
    if not place:
        return node
    inside = tree.value if tree.is_map else {}
    below = inside.get(place[0]) or Node({}, node.origin, node.key_origin)
    return replace(tree, value={**inside, place[0]: _put(below, place[1:], node)})


def _without_knobs(
    node: Node, section: type[Section], place: Place, found: list[tuple[Place, Node]], faults: list[Fault]
) -> Node:
    """The section without keys that it does not have, which go to `found`, or to `faults` if they look like typos."""
    from base.config.kinds import Component
    from base.config.schema import section_of

    kept: dict[str, Node] = {}
    for key, child in node.value.items():
        field = section.model_fields.get(key)
        if field is None:
            known = [*section.model_fields, *(RENAMED if not place else ())]
            if meant := near_miss(key, [name for name in known if name not in node]):
                hint = f"did you mean {meant!r}? a key of your own needs a name less like it"
                faults.append(Fault(child.key_origin or child.origin, _theirs((*place, key)), "unknown key", hint=hint))
            else:
                found.append(((*place, key), child))
            continue
        inner = section_of(field.annotation)
        by_name = "dict[" in str(field.annotation) or (inner is not None and issubclass(inner, Component))
        if inner is not None and child.is_map and ("type" in child or not by_name):
            child = _without_knobs(child, inner, (*place, key), found, faults)
        kept[key] = child
    return replace(node, value=kept)


def near_miss(key: str, known: list[str]) -> str | None:
    """The known name from which `key` is one edit or one swap of neighbours away. A known name with a suffix of its own
    (`optimizer_G`, `tensorboardX`) is no miss."""
    for name in known:
        suffix = key.removeprefix(name)
        own = suffix != key and not (suffix[:1].isalpha() and suffix[:1].islower())
        if not own and _one_edit(key, name):
            return name
    return None


def _one_edit(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    start = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(long) - len(short) == 1:
        return short[start:] == long[start + 1 :]
    swapped = short[start + 1 : start + 2] + short[start : start + 1] + short[start + 2 :]
    return (
        len(long) == len(short)
        and one != other
        and (short[start + 1 :] == long[start + 1 :] or swapped == long[start:])
    )


def _reshaped(layer: Node) -> Node:
    """Values that have another shape there."""
    metrics = layer.at(("metrics",))
    if metrics is not None and metrics.is_map:
        layer = _put(layer, ("metrics",), replace(metrics, value=list(_metrics(metrics))))
    stop = layer.at(("trainer", "early_stop"))
    if stop is not None and type(stop.value) in (int, float) and stop.value <= 0:
        layer = _put(layer, ("trainer", "early_stop"), replace(stop, value="off"))
    return layer


def _metrics(metrics: Node) -> Iterator[Node]:
    """Entries of a mapping: a component by its name in the logs, the arguments of a metric by its type, or a group."""
    for key, node in metrics.value.items():
        name = Node(key, node.key_origin or node.origin, node.key_origin, key)
        if node.is_list:
            yield from node.value
        elif node.is_map and "type" in node:
            yield node if "name" in node else replace(node, value={"name": name, **node.value})
        elif isinstance(node.value, str):
            yield Node({"type": node, "name": name}, node.origin, node.key_origin)
        else:
            args = node.at(("args",)) or node
            yield Node({"type": name, "args": args if args.is_map else replace(node, value={})}, node.origin)


def our_keys(tree: Node, keys: Keys) -> Keys:
    """Where an override's key stands: by pytorch-template's name for it, as a key of the project's own, or, of the
    batch size, where the loader takes it that makes its batches itself."""
    keys = (*RENAMED.get(keys[0], keys[:1]), *keys[1:])
    if tree.at(keys) is None and tree.at(("project", *keys)) is not None:
        return ("project", *keys)
    own = ("data", "train", "args", "batch_size")
    return own if keys == ("data", "loader", "batch_size") and tree.at(own) and tree.at(keys) is None else keys


def in_their_words(fault: Fault) -> Fault:
    """The fault with its key under the name that stands in the file."""
    return replace(fault, key=_theirs(tuple(fault.key.split("."))))


def _theirs(place: Place) -> str:
    for theirs, ours in RENAMED.items():
        if place[: len(ours)] == ours:
            return dotted((theirs, *place[len(ours) :]))
    return dotted(place)


def readable(values: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values with the keys of the project's own at the places where they were written, too."""
    return _laid_under(values, values["project"])


def _laid_under(values: Mapping[str, Any], knobs: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, knob in knobs.items():
        if key not in merged:
            merged[key] = knob
        elif isinstance(merged[key], Mapping) and isinstance(knob, Mapping) and key != "project":
            merged[key] = _laid_under(merged[key], knob)
    return merged
