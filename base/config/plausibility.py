"""Checks whether lengths, directions and rates can be meant, without torch.

It finds faults of lengths, and warnings of settings that never act, or that act against their purpose.

What cannot run is a fault. What merely never acts is a warning, and only if it stands in the same file as the length of
the training: the command line may shorten a run for a trial (`trainer.epochs=1`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from base.config.cross_checks import monitor_is_off
from base.config.document import Document, KeyPath, dotted
from base.config.lookup import chains, named
from base.config.torch_facts import GROWTH, LENGTHS, usual_unit
from base.errors import Fault, listing
from base.registry import METRICS
from utils.formatting import pluralize

_EPOCHS: KeyPath = ("trainer", "epochs")
_MONITORS: tuple[KeyPath, ...] = (("trainer", "monitor"), ("data", "valid"), ("data",))


def check_lengths(document: Document, steps: int | None = None, batches: int | None = None) -> list[Fault]:
    """The faults and warnings; of schedules that count optimizer steps only if the number of `steps` of the training is
    given, and of the accumulation only with the `batches` of an epoch.
    """
    epochs = document.get(_EPOCHS)
    if type(epochs) is not int or epochs < 1:
        return []
    ticks = {"epoch": epochs} | ({"step": steps} if steps else {})
    schedules = [fault for chain in chains(document).values() for fault in _chain(document, chain, ticks)]
    return [*_validation(document, epochs), *_accumulation(document, batches), *schedules]


def _warning(document: Document, path: KeyPath, what: str, expected: str = "", hint: str = "") -> Fault:
    return Fault(
        document.sources[path].origin, dotted(path), what, document.found(path), expected, hint, is_warning=True
    )


def _in_one_file(document: Document, path: KeyPath, other: KeyPath = _EPOCHS) -> bool:
    """True if both values, by default this one and the length of the training, are written in the same file."""
    if path not in document.sources or other not in document.sources:
        return False
    one, two = document.sources[path].origin, document.sources[other].origin
    return one.source == two.source and bool(one.line)


def _validation(document: Document, epochs: int) -> Iterator[Fault]:
    """How often there is a validation, and the patience that counts these."""
    every, interval = document.get(("trainer", "validate_every", "epochs")), ("trainer", "validate_every", "epochs")
    stop: KeyPath = ("trainer", "early_stop")
    patience = document.get(stop)
    if ("trainer", "validate_every", "steps") in document.sources:
        every = epochs = 0
    evaluations = epochs // every if type(every) is int and every > 0 else epochs
    if monitor_is_off(document):
        switch = next((path for path in _MONITORS if path in document.sources), ())
        if type(patience) is int and _in_one_file(document, stop, switch):
            hint = "set trainer.monitor, or early_stop: off"
            yield _warning(document, stop, "never acts: nothing is monitored", hint=hint)
    elif epochs and not evaluations:
        if document.get(("data", "valid")) not in (None, "off", False) and _in_one_file(document, interval):
            most = f"{epochs} at most, the epochs of the training"
            yield _warning(document, interval, "no validation takes place", most)
    elif type(patience) is int and patience >= evaluations and epochs and _in_one_file(document, stop):
        expected = f"less than {evaluations}, the evaluations in {pluralize(epochs, 'epoch')}, or off"
        yield _warning(document, stop, "never acts", expected)


def _accumulation(document: Document, batches: int | None) -> Iterator[Fault]:
    path: KeyPath = ("trainer", "accumulate")
    count = document.get(path)
    if batches and type(count) is int and count > batches and ("trainer", "steps_per_epoch") not in document.sources:
        yield _warning(document, path, "longer than an epoch", f"{batches} at most, the batches of an epoch")


def _chain(document: Document, chain: Sequence[KeyPath], ticks: Mapping[str, int]) -> Iterator[Fault]:
    """The lengths that schedules are given against the epochs or steps that they have: a link of a chain its `steps`,
    the last link what the links before it leave of the training.
    """
    used, unit_before = 0, ""
    for path in chain:
        link = document.get(path)
        if not isinstance(link, dict):
            return
        kind, steps = str(link.get("type")), link["steps"] if type(link.get("steps")) is int else 0
        unit = str(link.get("every") or usual_unit(kind))
        available, of = (steps, "this link") if steps else (ticks.get(unit, 0) - used, "the training")
        if unit_before in ("", unit) and available > 0 and unit in ticks:
            fact = "trainer.epochs" if unit == "epoch" else "trainer.total_steps"
            hint = "" if used or steps else f'write "${{{fact}}}"'
            yield from _length(document, path, kind, of, available, pluralize(available, unit), hint)
            yield from _milestones(document, path, of, available, pluralize(available, unit))
        if unit == "monitor" and not used:
            yield from _plateau(document, path, ticks["epoch"])
        used, unit_before = used + steps, unit if unit_before in ("", unit) else "several"


def _length(
    document: Document, link: KeyPath, kind: str, of: str, available: int, length_in_words: str, hint: str
) -> Iterator[Fault]:
    """The length of one schedule against what is `available`: epochs or steps `of` the training or of its link."""
    path = (*link, "args", LENGTHS.get(kind, ""))
    length = document.get(path)
    if type(length) is not int:
        return
    together = _in_one_file(document, path)
    if kind == "OneCycleLR" and length < available:
        at, found, what = document.sources[path].origin, document.found(path), f"shorter than {of}: it fails at its end"
        yield Fault(at, dotted(path), what, found, length_in_words, hint)
    elif kind == "StepLR" and length >= available and together:
        expected = f"less than the {length_in_words} of {of}"
        yield _warning(document, path, "the rate never changes", expected)
    elif kind != "StepLR" and length > available and together:
        yield _warning(document, path, f"longer than {of}", f"{length_in_words} at most", hint)


def _milestones(document: Document, link: KeyPath, of: str, available: int, length_in_words: str) -> Iterator[Fault]:
    path = (*link, "args", "milestones")
    milestones = document.get(path)
    late = [number for number in milestones if type(number) is int] if isinstance(milestones, list) else []
    late = [number for number in late if number >= available]
    if late and _in_one_file(document, path):
        what = "never reached" if len(late) < len(milestones) else "the rate never changes"
        expected = f"less than the {length_in_words} of {of}"
        at = document.sources[path].origin
        yield Fault(at, dotted(path), what, listing(map(str, late), "and"), expected, is_warning=True)


def _plateau(document: Document, link: KeyPath, epochs: int) -> Iterator[Fault]:
    """The first evaluation is the best so far, and a rate that is lowered after the last serves nothing."""
    path = (*link, "args", "patience")
    patience, every = document.get(path), document.get(("trainer", "validate_every"))
    if type(patience) is int and not every and patience + 2 >= epochs and _in_one_file(document, path):
        expected = f"less than {epochs - 2}" if epochs > 2 else ""
        yield _warning(document, path, f"the rate never changes in {pluralize(epochs, 'epoch')}", expected)


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
