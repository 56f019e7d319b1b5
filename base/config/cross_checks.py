"""Checks keys against each other, without torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from base.config.document import Document, KeyPath, dotted
from base.config.keys import LoaderConfig
from base.config.lookup import chains, named
from base.config.torch_facts import COUNTED, ONE_RATE, UNITS, usual_unit
from base.errors import Fault, Origin, did_you_mean, listing

_NOTHING: tuple[Any, ...] = (None, "off", False, 0, [], {})
_ONLY_WITH: dict[KeyPath, tuple[Any, KeyPath, Any]] = {
    ("data", "max_errors"): (10, ("data", "on_error"), "skip"),
    ("trainer", "max_skipped"): (10, ("trainer", "non_finite"), "skip"),
}
"""Keys that mean something only beside another: their default, the other key, and what that must be."""


def check_together(document: Document) -> list[Fault]:
    """The faults of keys that contradict each other."""
    checks = (_loader, _monitor, _logged, _names, _schedules, _units, _rates, _freezing, _without_effect)
    return [fault for check in checks for fault in check(document)]


def _on(document: Document, *path: str) -> bool:
    """True if the key is written and its value turns something on."""
    return document.get(path) not in _NOTHING


def _entry(document: Document, path: KeyPath) -> dict[str, Any]:
    """The mapping at `path`; an empty one for anything else, which the sections report."""
    value = document.get(path)
    return value if isinstance(value, dict) else {}


def _fault(document: Document, path: KeyPath, what: str, hint: str) -> Fault:
    return Fault(document.nearest(path).key_origin, dotted(path), what, hint=hint)


def _loader(document: Document) -> Iterator[Fault]:
    """What torch's DataLoader refuses."""
    loader = _entry(document, ("data", "loader"))
    on = [name for name, value in loader.items() if value not in _NOTHING]
    for decider, decided in LoaderConfig.DECIDES.items():
        for name in decided if decider in on else ():
            if name not in on:
                continue
            what, hint = f"{decider} decides this", f"remove {name} or {decider}"
            yield _fault(document, ("data", "loader", name), what, hint)
    if loader.get("num_workers", 0) == 0:
        for name in ("prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context"):
            if name in on:
                what, hint = "this is for workers, and there are none", "set num_workers to 1 or more, or remove"
                yield _fault(document, ("data", "loader", name), what, f"{hint} {name}")


def _monitor(document: Document) -> Iterator[Fault]:
    links = [path for chain in chains(document).values() for path in chain]
    for path in links:
        link = _entry(document, path)
        if link.get("type") == "ReduceLROnPlateau" and link.get("every") in ("step", "epoch"):
            hint = "write every: monitor, or leave it out"
            yield _fault(document, (*path, "every"), "ReduceLROnPlateau steps on the monitored value", hint)
    for path in links if monitor_is_off(document) else ():
        link = _entry(document, path)
        plateau = link.get("type") == "ReduceLROnPlateau" and "every" not in link
        if plateau or link.get("every") == "monitor":
            hint = "set trainer.monitor" if plateau else "set trainer.monitor, or every: epoch"
            yield _fault(document, (*path, "type" if plateau else "every"), "nothing is monitored", hint)


def monitor_is_off(document: Document) -> bool:
    """True if `trainer.monitor` is, or its default because there is no validation data."""
    around = ("trainer",) if ("trainer",) in document.sources else ()
    written = "monitor" in _entry(document, around)
    return not _on(document, "trainer", "monitor") and (written or not _on(document, "data", "valid"))


def _without_effect(document: Document) -> Iterator[Fault]:
    for path, (default, other, value) in _ONLY_WITH.items():
        given = document.get(path) if path in document.sources else default
        if given != default and document.get(other) != value:
            what, hint = f"has no effect without {dotted(other)}: {value}", f"set that, or remove {path[-1]}"
            yield _fault(document, path, what, hint)
    valid = document.get(("data", "valid"))
    parts = valid.values() if isinstance(valid, dict) and "type" not in valid else [valid]
    if _on(document, "data", "stratify") and not any(type(part) in (int, float) for part in parts):
        what = "has no effect: no part of the training data is set aside"
        hint = "set data.valid to a fraction or a count, or remove stratify"
        yield _fault(document, ("data", "stratify"), what, hint)


def _metric_names(document: Document) -> list[tuple[KeyPath, str]]:
    """The names of the metrics in the logs, each with the path of the key that gives it."""
    metrics = document.values.get("metrics")
    keys = [
        [(("metrics", i, key), metric.get(key)) for key in ("name", "type")]
        for i, metric in enumerate(metrics if isinstance(metrics, list) else ())
        if isinstance(metric, dict)
    ]
    given = ([(path, name) for path, name in both if isinstance(name, str) and name != "off"] for both in keys)
    return [names[0] for names in given if names]


def _logged(document: Document) -> Iterator[Fault]:
    """Metrics have different names; a loss has either a type or terms, whose names nothing else is logged under."""
    seen: dict[str, Origin] = {}
    for path, name in _metric_names(document):
        origin = document.sources[path].origin
        if name in seen:
            hint = f"the other is at {seen[name]}; give one of them a name"
            yield Fault(origin, dotted(path[:2]), f"two metrics are logged as {name!r}", hint=hint)
        seen.setdefault(name, origin)
    for path in named(document, "loss").values():
        loss = document.get(path)
        kind, terms = (loss.get("type"), loss.get("terms")) if isinstance(loss, dict) else ("", None)
        if kind in _NOTHING and terms in _NOTHING:
            at_key, key = document.sources[path].key_origin, dotted((*path, "type"))
            yield Fault(at_key, key, "missing", expected="a name, or terms beside it")
        elif kind not in _NOTHING and terms not in _NOTHING:
            yield _fault(document, (*path, "terms"), "a loss has a type or terms, not both", "remove one of them")
        for name in terms if isinstance(terms, dict) else ():
            if name in seen or name == "loss":
                yield _fault(document, (*path, "terms", name), f"{name!r} is logged already", "give it another name")


def _schedules(document: Document) -> Iterator[Fault]:
    """A link without `steps` would hide the next; a single rate would override those of the parameter groups."""
    optimizers = named(document, "optimizer")
    groups = {name: _entry(document, path).get("groups") for name, path in optimizers.items()}
    for name, chain in chains(document).items():
        scheduled = (value for optimizer, value in groups.items() if name in (optimizer, "lr_scheduler"))
        grouped = any(value and isinstance(value, list) for value in scheduled)
        for path in chain:
            link = document.get(path)
            if path != chain[-1] and isinstance(link, dict) and link.get("steps") in _NOTHING:
                hint = "set steps, its length, so that the next one follows"
                yield _fault(document, path, "this schedule never ends", hint)
            arguments = ONE_RATE.get(str(link.get("type")), ()) if grouped and isinstance(link, dict) else ()
            for rate in ((*path, "args", argument) for argument in arguments):
                if rate in document.sources and not isinstance(document.get(rate), list):
                    hint = "write a list: a rate for each group, and the last for the rest"
                    yield _fault(document, rate, "one rate for all groups of the optimizer", hint)


def _units(document: Document) -> Iterator[Fault]:
    """A fact counts epochs or steps, as a schedule does: one of the other unit is wrong at any length."""
    for chain in chains(document).values():
        for path in chain:
            link = _entry(document, path)
            unit = str(link.get("every") or usual_unit(str(link.get("type"))))
            for argument in COUNTED:
                value = document.get((*path, "args", argument))
                counts = UNITS.get(value) if isinstance(value, str) else None
                if counts is None or unit not in ("step", "epoch") or counts == unit:
                    continue
                what = f"counts {counts}s, but this schedule advances once per {unit}"
                right = "${trainer.epochs}" if unit == "epoch" else "${trainer.total_steps}"
                whole = value != "${trainer.steps_per_epoch}"
                hint = f'write "{right}", or set every: {counts}' if whole else f"set every: {counts}"
                at = (*path, "args", argument)
                yield Fault(document.sources[at].origin, dotted(at), what, str(value), hint=hint)


def _rates(document: Document) -> Iterator[Fault]:
    """A learning rate of 0, unless parameter groups or a schedule bring one of their own. Of several optimizers one may
    stand still, for comparison.
    """
    path = ("optimizer", "args", "lr")
    rate, of_groups = document.get(path), document.get(("optimizer", "groups"))
    links = [_entry(document, link) for chain in chains(document).values() for link in chain]
    if type(rate) in (int, float) and rate == 0 and not of_groups and not any(x.get("type") in ONE_RATE for x in links):
        what, expected = "nothing would be learned", "a number above 0"
        yield Fault(document.sources[path].origin, dotted(path), what, document.found(path), expected)


def _freezing(document: Document) -> Iterator[Fault]:
    for path in named(document, "model").values():
        on = [key for key, value in _entry(document, path).items() if value not in _NOTHING]
        if "frozen" in on and "freeze" in on:
            yield _fault(document, (*path, "freeze"), "the whole model is frozen", "remove freeze or frozen")
        if "unfreeze_at" in on and "freeze" not in on:
            what, hint = "nothing is frozen up to then", "say in freeze what learns from that epoch on"
            yield _fault(document, (*path, "unfreeze_at"), what, hint)
        if "init_from" in on and _on(document, "init_from"):
            what, hint = "init_from at the top says this, too", "remove one of them"
            yield _fault(document, (*path, "init_from"), what, hint)


def _names(document: Document) -> Iterator[Fault]:
    """Each optimizer is named after a model, each schedule after an optimizer."""
    models, optimizers, schedules = (named(document, key) for key in ("model", "optimizer", "lr_scheduler"))
    for name, path in optimizers.items() if "optimizer" not in optimizers else ():
        if "params" not in _entry(document, path) and name not in models:
            hint = did_you_mean(name, models) or f"set params to {listing(models) if len(models) > 1 else 'a pattern'}"
            yield _fault(document, path, "no model has this name", hint)
    for name, path in schedules.items() if "lr_scheduler" not in schedules else ():
        if name not in optimizers:
            hint = did_you_mean(name, optimizers) or f"there is {listing(optimizers, 'and')}"
            yield _fault(document, path, "no optimizer has this name", hint)


def check_monitor(document: Document) -> list[Fault]:
    """Checks `trainer.monitor`, or its default, against the names that the config lets a run log: `loss`, `accuracy`,
    `val_loss`, `val_accuracy` ...
    """
    path, valid, metrics = ("trainer", "monitor"), document.get(("data", "valid")), _metric_names(document)
    monitor = document.get(path) if path in document.sources else "min val_loss"
    parts, origin = str(monitor).split(), document.nearest(path).origin
    if monitor_is_off(document) or len(parts) != 2:
        return []
    name, names = parts[1], ["loss", *_entry(document, ("loss", "terms")), *(metric for _, metric in metrics)]
    if valid not in _NOTHING:
        by_name = isinstance(valid, dict) and "type" not in valid and "args" not in valid
        prefixes = [f"val_{part}_" for part in valid] if by_name else ["val_"]
        names += [prefix + each for prefix in prefixes for each in names]
    per_class = [called for at, called in metrics if (*at[:2], "args", "average") in document.sources]
    if name in names or any(f"{called}_" in name for called in per_class):  # the dry run checks these
        return []
    what, hint = f"nothing logs {name!r}", did_you_mean(name, names) or f"there are {listing(names, 'and')}"
    if name.startswith("val_") and valid in _NOTHING:
        what, hint = f"{name} needs validation data, and there is none", "set data.valid, such as 0.1, or monitor: off"
    return [Fault(origin, dotted(path), what, hint=hint)]
