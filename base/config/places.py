"""Where a config holds components, and which registries each place draws from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from base.config.nodes import Node, Place, dotted
from base.errors import suggest

PLACES: dict[str, tuple[str, ...]] = {
    "model": ("MODELS",),
    "model.*": ("MODELS",),
    "loss": ("LOSSES",),
    "loss.*": ("LOSSES",),
    "loss.terms.*": ("LOSSES",),
    "loss.*.terms.*": ("LOSSES",),
    "optimizer": ("OPTIMIZERS",),
    "optimizer.*": ("OPTIMIZERS",),
    "lr_scheduler": ("SCHEDULERS",),
    "lr_scheduler.#": ("SCHEDULERS",),
    "lr_scheduler.*": ("SCHEDULERS",),
    "lr_scheduler.*.#": ("SCHEDULERS",),
    "metrics.#": ("METRICS",),
    "callbacks.#": ("CALLBACKS",),
    "trainer": ("TRAINERS",),
    "data.train": ("DATASETS",),
    "data.valid": ("DATASETS",),
    "data.valid.*": ("DATASETS",),
    "data.test": ("DATASETS",),
    "data.test.*": ("DATASETS",),
    "data.target_transform": ("FUNCTIONS", "TRANSFORMS"),
    "data.transform.train.#": ("TRANSFORMS",),
    "data.transform.eval.#": ("TRANSFORMS",),
    "data.loader.sampler": ("SAMPLERS",),
    "data.loader.batch_sampler": ("SAMPLERS",),
    "data.loader.collate_fn": ("FUNCTIONS",),
    "data.loader.worker_init_fn": ("FUNCTIONS",),
}
"""`#` is an index of a list, `*` a name. A component is looked for in the registries from left to right."""
KEYS_OF_ONE: dict[str, tuple[str, ...]] = {
    "model": ("type", "args", "init_from", "frozen", "freeze", "unfreeze_at"),
    "loss": ("type", "args", "terms", "output", "target"),
    "optimizer": ("type", "args", "fused", "params", "groups"),
    "lr_scheduler": ("type", "args", "every", "steps"),
    "data.valid": ("type", "args"),
    "data.test": ("type", "args"),
}
"""Where one component may stand or several by name, and the keys of one, which are therefore no names."""
_KEYS = ("type", "args")
_WORDS = ("off", "auto", "split")
"""Texts that may stand in such a place and name no component."""


def registries_at(place: Place) -> tuple[str, ...]:
    """The symbols of the registries (`"MODELS"`) that a component at this place comes from; none for other places."""
    patterns = [""]
    for part in place:
        steps = [(pattern, "#" if isinstance(part, int) else part) for pattern in patterns]
        steps += [(p, "*") for p in patterns if isinstance(part, str) and part not in KEYS_OF_ONE.get(p, _KEYS)]
        patterns = [f"{pattern}.{step}".lstrip(".") for pattern, step in steps]
    return next((PLACES[pattern] for pattern in patterns if pattern in PLACES), ())


def is_component(place: Place, text: str) -> bool:
    """True if `text` at this place is short for `{type: text}`."""
    return text not in _WORDS and place != ("trainer",) and bool(registries_at(place))


def are_names(key: str, keys: Iterable[str]) -> bool:
    """True if the keys of a mapping at `key` (`model`) are names of components; `typ` is a slip and no name."""
    own = KEYS_OF_ONE[key]
    return bool(keys) and not any(name in own or suggest(name, ("type", "args")) for name in keys)


def named(tree: Node, key: str) -> dict[str, tuple[Place, Node]]:
    """The place and the node of the component at `key`, under the key's own name; of several each under its own."""
    node = tree.at((key,))
    if node is None or node.value is None:
        return {}
    if node.is_map and are_names(key, node.value):
        return {name: ((key, name), child) for name, child in node.value.items()}
    return {key: ((key,), node)}


def chains(tree: Node) -> dict[str, list[tuple[str, Node]]]:
    """The links of every schedule with their keys, by the schedule's name as `named` gives it."""
    found: dict[str, list[tuple[str, Node]]] = {}
    for name, (place, node) in named(tree, "lr_scheduler").items():
        several = [(dotted((*place, i)), link) for i, link in enumerate(node.value)] if node.is_list else []
        found[name] = several or ([(dotted(place), node)] if node.is_map else [])
    return found


def may_hold_components(place: Place) -> bool:
    """False for what the sections leave alone: the user's own keys, and arguments."""
    return place[:1] not in (("project",), ("options",)) and "args" not in place


def components(tree: Node) -> Iterator[tuple[Place, Node, tuple[str, ...]]]:
    """Every component of a config that has a `type`: its place, its node, the registries it may come from."""
    for place, node in tree.walk():
        named = node.at(("type",))
        symbols = registries_at(place) if may_hold_components(place) else ()
        if symbols and named is not None and isinstance(named.value, str) and not _is_slip(tree, place):
            yield place, node, symbols


def _is_slip(tree: Node, place: Place) -> bool:
    """True of a key that only looks like a name: it stands beside a component's own keys."""
    around = tree.at(place[:-1])
    key = dotted(place[:-1])
    return key in KEYS_OF_ONE and around is not None and around.is_map and not are_names(key, around.value)
