"""Keys that are right one by one and wrong together, as far as the texts tell."""

from __future__ import annotations

from collections.abc import Iterator

from base.config.nodes import Node, dotted
from base.config.places import chains, named
from base.errors import Fault, did_you_mean, listing

DECIDES = {"sampler": ("shuffle",), "batch_sampler": ("batch_size", "shuffle", "sampler", "drop_last")}
"""Keys of `data.loader` that leave others of them without meaning."""


def check_together(tree: Node) -> list[Fault]:
    """All of them; torch is not imported."""
    checks = (_loader, _monitor, _metrics, _losses, _names, _chain, _rates, _freezing, _without_effect)
    return [fault for check in checks for fault in check(tree)]


def _on(tree: Node, key: str) -> Node | None:
    """The node at `key` if it is written there and switches something on."""
    node = tree.at(tuple(key.split(".")))
    return None if node is None or node.value in (None, "off", False, 0, [], {}) else node


def _fault(tree: Node, key: str, what: str, hint: str) -> Fault:
    place = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
    while (node := tree.at(place)) is None:  # a name may have dots in it, which is a fault of its own
        place = place[:-1]
    return Fault(node.key_origin or node.origin, key, what, hint=hint)


def _loader(tree: Node) -> Iterator[Fault]:
    """What torch's DataLoader refuses."""
    at = "data.loader"
    for decider, names in DECIDES.items():
        for name in names if _on(tree, f"{at}.{decider}") else ():
            if _on(tree, f"{at}.{name}"):
                yield _fault(tree, f"{at}.{name}", f"{decider} decides this", f"remove {name} or {decider}")
    workers = tree.at(("data", "loader", "num_workers"))
    if workers is None or workers.value == 0:
        for name in ("prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context"):
            if _on(tree, f"{at}.{name}"):
                hint = f"set num_workers to 1 or more, or remove {name}"
                yield _fault(tree, f"{at}.{name}", "this is for workers, and there are none", hint)


def _monitor(tree: Node) -> Iterator[Fault]:
    if _monitor_is_off(tree):
        if _on(tree, "trainer.early_stop"):
            yield _fault(tree, "trainer.early_stop", "nothing is monitored", "set trainer.monitor, or early_stop: off")
        for key, link in (link for chain in chains(tree).values() for link in chain):
            kind, every = link.at(("type",)), link.at(("every",))
            plateau = kind is not None and kind.value == "ReduceLROnPlateau" and every is None
            if plateau or (every is not None and every.value == "monitor"):
                hint = "set trainer.monitor" if plateau else "set trainer.monitor, or every: epoch"
                yield _fault(tree, f"{key}.{'type' if plateau else 'every'}", "nothing is monitored", hint)
    for key, link in (link for chain in chains(tree).values() for link in chain):
        kind, every = link.at(("type",)), link.at(("every",))
        if kind is not None and kind.value == "ReduceLROnPlateau" and every and every.value in ("step", "epoch"):
            hint = "write every: monitor, or leave it out"
            yield _fault(tree, f"{key}.every", "ReduceLROnPlateau steps on the monitored value", hint)


def _monitor_is_off(tree: Node) -> bool:
    written = "monitor" in (tree.at(("trainer",)) or tree)
    return not _on(tree, "trainer.monitor") and (written or not _on(tree, "data.valid"))


_ONLY_WITH = {
    "data.max_errors": (10, "data.on_error", "skip"),
    "trainer.max_skipped": (10, "trainer.non_finite", "skip"),
}
"""Keys that mean something only beside another: their default, the other key, and what that must be."""


def _without_effect(tree: Node) -> Iterator[Fault]:
    for key, (default, other, value) in _ONLY_WITH.items():
        node, beside = tree.at(tuple(key.split("."))), tree.at(tuple(other.split(".")))
        if node is not None and node.value != default and (beside is None or beside.value != value):
            name = key.rpartition(".")[2]
            yield _fault(tree, key, f"has no effect without {other}: {value}", f"set that, or remove {name}")
    valid = tree.at(("data", "valid"))
    parts = valid.value.values() if valid is not None and valid.is_map and "type" not in valid else [valid]
    if _on(tree, "data.stratify") and not any(part and type(part.value) in (int, float) for part in parts):
        hint = "set data.valid to a fraction or a count, or remove stratify"
        yield _fault(tree, "data.stratify", "has no effect: no part of the training data is set aside", hint)


def _metrics(tree: Node) -> Iterator[Fault]:
    seen: dict[str, Node] = {}
    for i, metric in enumerate(_entries(tree, "metrics")):
        name = metric_name(metric)
        if name is not None and name.value in seen:
            hint = f"the other is at {seen[name.value].origin}; give one of them a name"
            yield Fault(name.origin, f"metrics.{i}", f"two metrics are logged as {name.value!r}", hint=hint)
        elif name is not None:
            seen[name.value] = name


def _losses(tree: Node) -> Iterator[Fault]:
    """Each has a type or is made of terms, whose names are free."""
    taken = ["loss", *(node.value for metric in _entries(tree, "metrics") if (node := metric_name(metric)))]
    for place, node in named(tree, "loss").values():
        key = dotted(place)
        kind, terms = _on(tree, f"{key}.type"), _on(tree, f"{key}.terms")
        if node.is_map and kind is None and terms is None:
            yield Fault(node.key_origin or node.origin, f"{key}.type", "missing", expected="a name, or terms beside it")
        elif kind is not None and terms is not None:
            yield _fault(tree, f"{key}.terms", "a loss has a type or terms, not both", "remove one of them")
        for name in terms.value if terms is not None and terms.is_map else ():
            if name in taken:
                yield _fault(tree, f"{key}.terms.{name}", f"{name!r} is logged already", "give it another name")


def _rates(tree: Node) -> Iterator[Fault]:
    """A schedule that sets one rate for all groups would take their own away."""
    groups = {name: node.at(("groups",)) for name, (_, node) in named(tree, "optimizer").items()}
    for name, chain in chains(tree).items():
        mine = (node for of, node in groups.items() if name in (of, "lr_scheduler"))
        grouped = any(node and node.is_list and node.value for node in mine)
        for key, link in chain:
            kind = link.at(("type",))
            for argument in ("base_lr", "max_lr") if kind and kind.value in ("OneCycleLR", "CyclicLR") else ():
                rate = link.at(("args", argument))
                if grouped and rate is not None and not rate.is_list:
                    what = "one rate for all groups of the optimizer"
                    hint = "write a list: a rate for each group, and the last for the rest"
                    yield _fault(tree, f"{key}.args.{argument}", what, hint)


def _freezing(tree: Node) -> Iterator[Fault]:
    for place, _ in named(tree, "model").values():
        key = dotted(place)
        if _on(tree, f"{key}.frozen") and _on(tree, f"{key}.freeze"):
            yield _fault(tree, f"{key}.freeze", "the whole model is frozen", "remove freeze or frozen")
        if _on(tree, f"{key}.unfreeze_at") and not _on(tree, f"{key}.freeze"):
            hint = "say in freeze what learns from that epoch on"
            yield _fault(tree, f"{key}.unfreeze_at", "nothing is frozen up to then", hint)
        if _on(tree, f"{key}.init_from") and _on(tree, "init_from"):
            yield _fault(tree, f"{key}.init_from", "init_from at the top says this, too", "remove one of them")


def _names(tree: Node) -> Iterator[Fault]:
    """Of an optimizer its model's, of a schedule its optimizer's."""
    models, optimizers, schedules = (named(tree, key) for key in ("model", "optimizer", "lr_scheduler"))
    for name, (place, node) in optimizers.items() if "optimizer" not in optimizers else ():
        if "params" not in node and name not in models:
            hint = did_you_mean(name, models) or f"set params to {listing(models) if len(models) > 1 else 'a pattern'}"
            yield Fault(node.key_origin or node.origin, dotted(place), "no model has this name", hint=hint)
    for name, (place, node) in schedules.items() if "lr_scheduler" not in schedules else ():
        if name not in optimizers:
            hint = did_you_mean(name, optimizers) or f"there is {listing(optimizers, 'and')}"
            yield Fault(node.key_origin or node.origin, dotted(place), "no optimizer has this name", hint=hint)


def _chain(tree: Node) -> Iterator[Fault]:
    for key, link in (link for chain in chains(tree).values() for link in chain[:-1]):
        if link.is_map and not _on(link, "steps"):
            yield _fault(tree, key, "this schedule never ends", "set steps, its length, so that the next one follows")


def _entries(tree: Node, key: str) -> list[Node]:
    node = tree.at((key,))
    return node.value if node is not None and node.is_list else []


def metric_name(metric: Node) -> Node | None:
    """The node that says how a metric is called in the logs."""
    for part in ("name", "type"):
        node = metric.at((part,))
        if node is not None and isinstance(node.value, str) and node.value != "off":
            return node
    return None


def logged_names(tree: Node) -> list[str]:
    """What the rows of a run hold, as far as the config tells: `loss`, `accuracy`, `val_loss`, `val_accuracy` ..."""
    terms = tree.at(("loss", "terms"))
    names = ["loss", *(terms.value if terms is not None and terms.is_map else ())]
    names += [node.value for metric in _entries(tree, "metrics") if (node := metric_name(metric))]
    valid = _on(tree, "data.valid")
    if valid is None:
        return names
    by_name = valid.is_map and "type" not in valid and "args" not in valid
    prefixes = [f"val_{name}_" for name in valid.value] if by_name else ["val_"]
    return [*names, *(prefix + name for prefix in prefixes for name in names)]


def check_monitor(tree: Node) -> list[Fault]:
    """`trainer.monitor`, or its default, against the names that a run logs."""
    if _monitor_is_off(tree):
        return []
    node = tree.at(("trainer", "monitor")) or Node("min val_loss", (tree.at(("trainer",)) or tree).origin)
    words, names = str(node.value).split(), logged_names(tree)
    if len(words) != 2 or words[1] in names:
        return []
    per_class = [metric_name(metric) for metric in _entries(tree, "metrics") if metric.at(("args", "average"))]
    if any(called and f"{called.value}_" in words[1] for called in per_class):  # the dry run tells
        return []
    name, key = words[1], "trainer.monitor"
    if name.startswith("val_") and not _on(tree, "data.valid"):
        what, hint = f"{name} needs validation data, and there is none", "set data.valid, such as 0.1, or monitor: off"
        return [Fault(node.origin, key, what, hint=hint)]
    hint = did_you_mean(name, names) or f"there are {listing(names, 'and')}"
    return [Fault(node.origin, key, f"nothing logs {name!r}", hint=hint)]
