"""Two trees into one, in the grammar `{type, args}`."""

from __future__ import annotations

from dataclasses import replace

from base.config.nodes import Node, Place, dotted
from base.config.places import KEYS_OF_ONE, are_names, is_component, may_hold_components


def desugar(tree: Node, place: Place = ()) -> Node:
    """The same tree, every component that is a bare name written out as `{type: Name}`."""
    if isinstance(tree.value, str) and is_component(place, tree.value):
        named = replace(tree, key_origin=tree.origin, shadowed=())
        return replace(tree, value={"type": named}, text="")
    if not may_hold_components(place):
        return tree
    if tree.is_map:
        return replace(tree, value={key: desugar(node, (*place, key)) for key, node in tree.value.items()})
    if tree.is_list:
        return replace(tree, value=[desugar(node, (*place, i)) for i, node in enumerate(tree.value)])
    return tree


def merge(below: Node, above: Node, place: Place = ()) -> Node:
    """`above` laid onto `below`: mappings merge, everything else replaces. A new `type` drops `args` from below; one
    component and several by name replace each other."""
    if not (below.is_map and above.is_map) or _of_another_kind(below, above, place):
        return replace(above, shadowed=(*above.shadowed, below, *below.shadowed))
    items = dict(below.value)
    dropped: tuple[Node, ...] = ()
    old, new = below.at(("type",)), above.at(("type",))
    if old is not None and new is not None and old.value != new.value and "args" in items:
        dropped = (items.pop("args"),)
    for key, node in above.value.items():
        items[key] = merge(items[key], node, (*place, key)) if key in items else node
    told = above if above.origin.line else below  # what a section lacks is told of the file that says most of it
    return replace(told, value=items, shadowed=(*dropped, *above.shadowed, *below.shadowed))


def _of_another_kind(below: Node, above: Node, place: Place) -> bool:
    """One component where the other holds several by name."""
    key = dotted(place)
    if key == "loss" and "terms" in {*below.value, *above.value}:
        terms = above.at(("terms",))
        return ("type" in above and "terms" in below) or (terms is not None and terms.is_map and "type" in below)
    if key not in KEYS_OF_ONE or are_names(key, below.value) == are_names(key, above.value):
        return False
    return "type" in above or all(node.is_list or "type" in node for node in above.value.values())
