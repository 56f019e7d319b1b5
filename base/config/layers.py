"""One tree from many layers: the files that extend each other, and on top of them the overrides."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from base.config.merge import desugar, merge
from base.config.nodes import Node, Place, dotted, from_plain
from base.config.places import KEYS_OF_ONE, named
from base.config.read_file import read_file
from base.config.template_shape import from_template, is_template_shaped, our_keys
from base.config.yaml_reader import read_yaml
from base.errors import Fault, Origin, listing

Keys = tuple[str, ...]
Overrides = Sequence[str] | Mapping[str, Any]

SHORT_FLAGS = {
    "--lr": "optimizer.args.lr",
    "--batch-size": "data.loader.batch_size",
    "--epochs": "trainer.epochs",
    "--device": "device",
    "--seed": "seed",
    "--name": "name",
}
"""Flags for everyday keys: `--lr=0.1` is `optimizer.args.lr=0.1`."""
_PATH = re.compile(r"[^.\s=-][^.\s=]*(\.[^.\s=]+)*")


def read_layers(path: Path, faults: list[Fault], notes: list[str]) -> Node | None:
    """The merged tree of a file and the files it extends; None if one of them could not be read. One note if the file
    has the shape of pytorch-template's.
    """
    layers: list[Node] = []
    seen: list[Path] = []
    asked: Origin | None = None
    while True:
        tree = read_file(path, faults, asked)
        if tree is None:
            return None
        if asked is not None and path.resolve() in seen:
            circle = " -> ".join(other.name for other in [*seen[seen.index(path.resolve()) :], path])
            faults.append(Fault(asked, "extends", "files extend each other in a circle", circle))
            return None
        seen.append(path.resolve())
        base = tree.value.pop("extends", None)
        tree.value.pop("$schema", None)  # for editors
        layers.append(tree)
        if base is None or base.value is None:
            break
        asked = base.origin
        if not isinstance(base.value, str):
            faults.append(Fault(asked, "extends", "does not fit", base.found(), "one file, such as base.yaml"))
            return None
        path = Path(os.path.normpath(path.parent / base.value))
    layers = in_our_shape(layers, faults, notes)
    merged = layers.pop()
    while layers:
        merged = merge(merged, layers.pop())
    return merged


def in_our_shape(layers: list[Node], faults: list[Fault], notes: list[str]) -> list[Node]:
    """Bare names written out; if one of the layers has the shape of pytorch-template's, all translated, with a note."""
    if not any(is_template_shaped(layer) for layer in layers):
        return [desugar(layer) for layer in layers]
    read = [from_template(layer, faults) for layer in layers]
    own = dict.fromkeys(name for _, names in reversed(read) for name in names)
    kept = f"; keys of your own: {', '.join(own)}" if own else ""
    notes.append(f"read as a config of pytorch-template{kept}")
    return [desugar(layer) for layer, _ in read]


def flags_of(tree: Node) -> dict[str, str]:
    """The flags of a config's `options`, and the dotted keys that they set; entries that are none are left out."""
    options, flags = tree.at(("options",)), dict[str, str]()
    for option in options.value.values() if options is not None and options.is_map else ():
        target, listed = option.at(("target",)), option.at(("flags",))
        if target is not None and isinstance(target.value, str) and listed is not None and listed.is_list:
            flags |= {str(flag.value): target.value.replace(";", ".") for flag in listed.value}
    return flags


def flags_of_file(path: str) -> dict[str, str]:
    """`flags_of` a config, or of a run's; none of a file that cannot be read, which is told elsewhere."""
    place = Path(path)
    run = [place / "config.yaml", place.parent / "config.yaml", place.parent.parent / "config.yaml"]
    file = place if place.is_file() and place.suffix else next((path for path in run if path.is_file()), place)
    tree = read_layers(file, [], [])
    return flags_of(tree) if tree is not None else {}


def apply_overrides(tree: Node, overrides: Overrides, faults: list[Fault]) -> Node:
    """The tree with `key.path=value` texts, or a mapping of such paths to values, laid onto it.

    The shorter path goes first, so that `optimizer.type=Adam` never drops an `optimizer.args.lr=0.1` beside it; of
    two for the same path the last one counts.
    """
    read = _from_mapping(overrides, faults) if isinstance(overrides, Mapping) else _from_texts(overrides, tree, faults)
    ours = [(our_keys(tree, keys), node) for keys, node in read]
    for keys, node in sorted(ours, key=lambda override: len(override[0])):
        layer = _layer(tree, keys, node, (), faults)
        if layer is not None:
            tree = merge(tree, layer)
    return tree


def add_plugins(tree: Node, names: Iterable[str]) -> Node:
    """The config with the modules of `--plugin` under `plugins`, so that a run keeps what it needs."""
    there = tree.at(("plugins",))
    if there is not None and not there.is_list:
        return tree  # which the sections tell
    listed = there.value if there else []
    known = {node.value for node in listed if isinstance(node.value, str)}
    new = [Node(name, Origin(f"command line: --plugin {name}")) for name in dict.fromkeys(names) if name not in known]
    if not new:
        return tree
    origin = there.origin if there else new[0].origin
    return merge(tree, Node({"plugins": Node([*listed, *new], origin, origin)}, origin))


def _from_mapping(overrides: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[Keys, Node]]:
    for key, value in overrides.items():
        origin = Origin(f"fit(): {key}")
        keys, found = tuple(key.split(".")), list[Fault]()
        node = from_plain(value, origin, found, keys)
        if not _PATH.fullmatch(key):
            faults.append(Fault(origin, "", "not a key", expected="a path such as trainer.epochs"))
        elif found:
            faults.extend(found)
        else:
            yield keys, node


def _from_texts(overrides: Sequence[str], tree: Node, faults: list[Fault]) -> Iterator[tuple[Keys, Node]]:
    for text in overrides:
        origin = Origin(f"command line: {text}")
        key, equals, value = text.partition("=")
        targets = _targets(key, tree)
        key = targets[0]
        if len(targets) > 1:
            faults.append(Fault(origin, "", "has no single target", hint=f"write {listing(targets)}"))
        elif not equals or not _PATH.fullmatch(key):
            faults.append(Fault(origin, "", "not an override", expected="key.path=value, such as trainer.epochs=3"))
        elif not value.strip():
            faults.append(Fault(origin, key, "nothing after the '='", hint="write null to remove the key"))
        elif key == "extends":
            faults.append(Fault(origin, key, "only a file can extend another", hint="name that file with -c"))
        else:
            found: list[Fault] = []
            node = read_yaml(value, "", found)
            faults.extend(replace(fault, origin=origin, key=key) for fault in found)
            if node is not None:
                yield tuple(key.split(".")), _said_at(origin, node)


def _targets(key: str, tree: Node) -> list[str]:
    """What a short flag stands for: one key, or, of several optimizers, one for each; any other key is itself."""
    own = flags_of(tree).get(key)
    section, _, rest = SHORT_FLAGS.get(key, key).partition(".")
    if own or key not in SHORT_FLAGS or section not in KEYS_OF_ONE:
        return [own or SHORT_FLAGS.get(key, key)]
    return [dotted((*place, rest)) for place, _ in named(tree, section).values()] or [SHORT_FLAGS[key]]


def _said_at(origin: Origin, node: Node) -> Node:
    """The same tree with `origin` as the place of everything in it."""
    value = node.value
    if node.is_map:
        value = {key: _said_at(origin, child) for key, child in value.items()}
    elif node.is_list:
        value = [_said_at(origin, child) for child in value]
    return replace(node, value=value, origin=origin, key_origin=origin)


def _layer(below: Node | None, keys: Keys, node: Node, place: Place, faults: list[Fault]) -> Node | None:
    """The layer that, merged onto `below`, brings `node` to `keys`; None after a fault. `below` stands at
    `place`; a number indexes a list there.
    """
    if not keys:
        return desugar(node, place)
    key, rest = keys[0], keys[1:]
    if below is not None and below.is_list:
        return _list_layer(below, key, rest, node, place, faults)
    if below is not None and not below.is_map and below.value is not None:
        what = f"{dotted(place)} holds {below.found()}, and nothing below it"
        faults.append(Fault(node.origin, dotted((*place, *keys)), what, hint="set it as a whole"))
        return None
    child = _layer(below.at((key,)) if below else None, rest, node, (*place, key), faults)
    return child and Node({key: replace(child, key_origin=node.origin)}, node.origin, node.origin)


def _list_layer(below: Node, key: str, rest: Keys, node: Node, place: Place, faults: list[Fault]) -> Node | None:
    count = len(below.value)
    if not key.isdecimal() or int(key) >= count:
        what = f"{dotted(place)} is a list of {count} and has no entry {key!r}" if count else "the list is empty"
        faults.append(Fault(node.origin, dotted((*place, key, *rest)), what, hint="the first is 0" if count else ""))
        return None
    items, index = list(below.value), int(key)
    item = _layer(items[index], rest, node, (*place, index), faults)
    if item is None:
        return None
    items[index] = merge(items[index], item)
    return replace(below, value=items, shadowed=())
