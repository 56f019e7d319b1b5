"""Warnings of what trains at any length, though hardly as meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from base.config.document import Document, KeyPath, dotted
from base.config.lookup import chains, named
from base.config.torch_facts import GROWTH
from base.errors import Fault
from base.registry import METRICS

_SMALLER = re.compile(r"(^|_)(loss|error|distance|perplexity|divergence)$")
_LARGER = re.compile(r"(^|_)(accuracy|precision|recall|f1|dice|iou|auroc|auc|r2)$", re.IGNORECASE)


def doubts(document: Document, sizes: Mapping[str, int]) -> list[Fault]:
    """The warnings. `sizes` are the numbers of samples of the validation sets by name, as far as they are known."""
    of_text = [warning for check in (_direction, _growth, _large_rate, _same_data) for warning in check(document)]
    return [*of_text, *_one_sample(document, sizes)]


def direction(document: Document, name: str) -> str:
    """`min` or `max` for what is logged as `val_accuracy`: as torchmetrics says, else by the usual meaning of its name;
    empty if neither tells.
    """
    for metric in document.get(("metrics",)) or ():
        kind, called = (metric.get("type"), metric.get("name")) if isinstance(metric, dict) else (None, None)
        if isinstance(kind, str) and name.endswith(str(called or kind)) and kind in METRICS:
            better = getattr(METRICS.get(kind), "higher_is_better", None)
            if better is not None:
                return "max" if better else "min"
            name = kind
    return "min" if _SMALLER.search(name) else "max" if _LARGER.search(name) else ""


def _warning(document: Document, path: KeyPath, what: str, expected: str = "", hint: str = "") -> Fault:
    source = document.sources[path]
    return Fault(source.origin, dotted(path), what, document.found(path), expected, hint, is_warning=True)


def _direction(document: Document) -> Iterator[Fault]:
    path = ("trainer", "monitor")
    mode, _, name = str(document.get(path)).partition(" ")
    right = direction(document, name) if mode in ("min", "max") else ""
    if right and right != mode:
        worst = "largest" if right == "min" else "smallest"
        yield _warning(document, path, f"the {worst} {name} counts as the best", hint=f"write {right} {name}")


def _growth(document: Document) -> Iterator[Fault]:
    for chain in chains(document).values():
        for link in chain:
            path = (*link, "args", GROWTH.get(str(document.get((*link, "type"))), ""))
            factor = document.get(path)
            if type(factor) in (int, float) and factor >= 1:
                what = "the rate grows each time" if factor > 1 else "the rate never changes"
                yield _warning(document, path, what, "a factor below 1, such as 0.1")


def _large_rate(document: Document) -> Iterator[Fault]:
    for optimizer in named(document, "optimizer").values():
        path = (*optimizer, "args", "lr")
        rate = document.get(path)
        if type(rate) in (int, float) and rate > 10:
            yield _warning(document, path, "a very large learning rate", "usually 1 or less")


def _same_data(document: Document) -> Iterator[Fault]:
    """Only equal texts are noticed: two names for one file are not. One of several sets may be meant so."""
    path: KeyPath = ("data", "valid")
    train, valid = document.get(("data", "train")), document.get(path)
    if isinstance(valid, dict) and "type" in valid and isinstance(train, dict) and _said(valid) == _said(train):
        hint = "hold a part of it back, as in valid: 0.1, or name other data"
        what = "the training data itself: its scores say nothing about new data"
        yield Fault(document.sources[path].origin, dotted(path), what, hint=hint, is_warning=True)


def _said(component: dict[str, object]) -> tuple[object, object]:
    return component.get("type"), component.get("args") or {}


def _one_sample(document: Document, sizes: Mapping[str, int]) -> Iterator[Fault]:
    """A part of the training data that is a single sample, by its count or by a small fraction."""
    whole = document.get(("data", "valid"))
    parts = whole if isinstance(whole, dict) and "type" not in whole else {"": whole}
    for name, part in parts.items():
        path = ("data", "valid", name) if name else ("data", "valid")
        if type(part) is int and part == 1:
            hint = "a whole number counts samples: for a part write a fraction, such as 0.1"
            yield _warning(document, path, "one sample to validate with", hint=hint)
        elif type(part) is float and sizes.get(name) == 1:
            yield _warning(document, path, "one sample to validate with", "a larger fraction, such as 0.1")
