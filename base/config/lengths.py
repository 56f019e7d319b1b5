"""Lengths against each other: schedules and patience against the training. A run cut short from the command line is no
contradiction of its file: only what is said in one place, and what cannot go well, is a fault.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from base.config.nodes import Node
from base.config.places import chains
from base.errors import Fault

PER_STEP = {"OneCycleLR", "CyclicLR"}
LENGTHS = {
    "CosineAnnealingLR": "T_max",
    "OneCycleLR": "total_steps",
    "StepLR": "step_size",
    "ConstantLR": "total_iters",
    "LinearLR": "total_iters",
    "PolynomialLR": "total_iters",
}
"""The argument of a schedule that says how long it takes, or, of StepLR, when it acts first."""


def usual_unit(type_: str) -> str:
    """When a schedule steps if the config does not say: `step`, `epoch` or `monitor`."""
    return "step" if type_ in PER_STEP else "monitor" if type_ == "ReduceLROnPlateau" else "epoch"


def check_lengths(tree: Node, steps: int | None = None) -> list[Fault]:
    """All of them; those that count optimizer steps once it is known how many the run has."""
    epochs = tree.at(("trainer", "epochs"))
    if epochs is None or type(epochs.value) is not int:
        return []
    ticks = {"epoch": epochs.value} | ({"step": steps} if steps else {})
    schedules = [fault for links in chains(tree).values() for fault in _schedules(links, ticks, epochs)]
    return [*_patience(tree, epochs), *schedules]


def _patience(tree: Node, epochs: Node) -> Iterator[Fault]:
    patience, period = tree.at(("trainer", "early_stop")), tree.at(("trainer", "validate_every", "epochs"))
    if patience is None or type(patience.value) is not int or tree.at(("trainer", "validate_every", "steps")):
        return
    every = period.value if period is not None and type(period.value) is int else 1
    evaluations = epochs.value // max(every, 1)
    if _said_together(patience, epochs) and patience.value >= evaluations:
        expected = f"less than {evaluations}, the evaluations in {epochs.value} epochs, or off"
        yield Fault(patience.origin, "trainer.early_stop", "never acts", patience.found(), expected)


def _said_together(one: Node, other: Node) -> bool:
    return one.origin.source == other.origin.source and bool(one.origin.line)


def _schedules(links: Iterable[tuple[str, Node]], ticks: Mapping[str, int], epochs: Node) -> Iterator[Fault]:
    before: dict[str, int] = {}
    for key, link in links:
        if not link.is_map:
            return
        unit = str(_value(link, "every") or usual_unit(str(_value(link, "type"))))
        steps = _value(link, "steps")
        steps = steps if type(steps) is int else 0
        used = sum(before.values())
        length = _Length(unit, steps or ticks.get(unit, 0) - used, "this link" if steps else "the training", not used)
        if set(before) <= {unit} and length.ticks > 0 and unit in ticks:
            yield from _schedule(key, link, length, epochs)
        before[unit] = before.get(unit, 0) + steps


@dataclass(frozen=True)
class _Length:
    """How long a link of the schedule has."""

    unit: str
    ticks: int
    of: str
    whole: bool

    def __str__(self) -> str:
        return f"{self.ticks} {self.unit}{'s' if self.ticks != 1 else ''}"

    @property
    def hint(self) -> str:
        fact = "trainer.epochs" if self.unit == "epoch" else "trainer.total_steps"
        return f'write "${{{fact}}}"' if self.whole and self.of == "the training" else ""


def _value(link: Node, key: str) -> object:
    node = link.at((key,))
    return node.value if node is not None else None


def _schedule(key: str, link: Node, has: _Length, epochs: Node) -> Iterator[Fault]:
    kind = str(_value(link, "type"))
    node = link.at(("args", LENGTHS.get(kind, "")))
    if node is None or type(node.value) is not int:
        return
    at, found = f"{key}.args.{LENGTHS[kind]}", node.found()
    if kind == "OneCycleLR" and node.value < has.ticks:
        yield Fault(node.origin, at, f"over before {has.of} is, and then it fails", found, str(has), has.hint)
    elif kind == "StepLR" and node.value >= has.ticks and _said_together(node, epochs):
        yield Fault(node.origin, at, "the rate never changes", found, f"less than the {has} of {has.of}")
    elif kind != "StepLR" and node.value > has.ticks and _said_together(node, epochs):
        yield Fault(node.origin, at, f"longer than {has.of}", found, f"{has} at most", has.hint)
