"""Where a config holds components, and which registries each place draws from."""

from __future__ import annotations

from collections.abc import Iterator

from base.config.nodes import Node, Place

PLACES: dict[str, tuple[str, ...]] = {
    "model": ("MODELS",),
    "loss": ("LOSSES",),
    "optimizer": ("OPTIMIZERS",),
    "lr_scheduler": ("SCHEDULERS",),
    "lr_scheduler.#": ("SCHEDULERS",),
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
"""`#` is an index of a list, `*` the name of a data set. A name is looked for in the registries from left to right."""
_WORDS = ("off", "auto")
"""Texts that may stand in such a place and name no component."""


def registries_at(place: Place) -> tuple[str, ...]:
    """The symbols of the registries (`"MODELS"`) that a component at this place comes from; none for other places."""
    if place and place[-1] in ("type", "args"):
        return ()
    pattern = ".".join("#" if isinstance(part, int) else part for part in place)
    return PLACES.get(pattern) or PLACES.get(f"{pattern.rpartition('.')[0]}.*", ())


def is_component(place: Place, text: str) -> bool:
    """True if `text` at this place is short for `{type: text}`."""
    return text not in _WORDS and place != ("trainer",) and bool(registries_at(place))


def may_hold_components(place: Place) -> bool:
    """False for what the sections leave alone: the user's own keys, and arguments."""
    return place[:1] != ("project",) and "args" not in place


def components(tree: Node) -> Iterator[tuple[Place, Node, tuple[str, ...]]]:
    """Every component of a config that has a `type`: its place, its node, the registries it may come from."""
    for place, node in tree.walk():
        named = node.at(("type",))
        symbols = registries_at(place) if may_hold_components(place) else ()
        if symbols and named is not None and isinstance(named.value, str):
            yield place, node, symbols
