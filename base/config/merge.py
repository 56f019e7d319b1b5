"""Two trees into one, in the grammar `{type, args}`."""

from __future__ import annotations

from dataclasses import replace

from base.config.nodes import Node, Place
from base.config.places import is_component, may_hold_components


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


def merge(below: Node, above: Node) -> Node:
    """`above` laid onto `below`: mappings merge, everything else replaces. A new `type` drops `args` from below."""
    if not (below.is_map and above.is_map):
        return replace(above, shadowed=(*above.shadowed, below, *below.shadowed))
    items = dict(below.value)
    dropped: tuple[Node, ...] = ()
    old, new = below.at(("type",)), above.at(("type",))
    if old is not None and new is not None and old.value != new.value and "args" in items:
        dropped = (items.pop("args"),)
    for key, node in above.value.items():
        items[key] = merge(items[key], node) if key in items else node
    place = above if above.origin.line else below  # what a section lacks is told of the file that says most of it
    return replace(place, value=items, shadowed=(*dropped, *above.shadowed, *below.shadowed))
