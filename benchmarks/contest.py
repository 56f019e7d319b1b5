"""Rounds: contestants take turns, each time in a fresh process, so that all run under the same load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.launch import Ended
from benchmarks.table import table
from benchmarks.workloads import Figures, Sizes, Workload

Launch = Callable[[Sequence[str]], Ended]
Say = Callable[[str], None]
TOLERANCE = 0.1
"""How much the final losses may differ, relatively or absolutely: contestants shuffle differently."""


@dataclass
class Result:
    workload: Workload
    rounds: dict[str, list[Figures | None]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        workload = self.workload
        return table(self.rounds, workload.compared, workload.shown, workload.over)


def contest(
    make: Callable[[Path, Sizes, bool], Workload], sizes: Sizes, rounds: int, peers: bool, launch: Launch, say: Say
) -> Result:
    with tempfile.TemporaryDirectory() as place:
        workload = make(Path(place), sizes, peers)
        result = Result(workload, {name: [] for name in workload.contestants})
        for round_ in range(rounds):
            names = list(workload.contestants)
            for name in names if round_ % 2 == 0 else reversed(names):
                say(f"{workload.title}: round {round_ + 1} of {rounds}: {name}")
                result.rounds[name].append(measure(workload, name, launch, result.faults))
        result.faults += differences(result)
        return result


def measure(workload: Workload, name: str, launch: Launch, faults: list[str]) -> Figures | None:
    with tempfile.TemporaryDirectory() as folder:
        ended = launch(workload.contestants[name](Path(folder)))
    try:
        return workload.figures(ended)
    except (LookupError, ValueError):
        tail = "\n".join(ended.output.strip().splitlines()[-15:])
        faults.append(f"{workload.title}: {name} failed with exit status {ended.status}:\n{tail}")
        return None


def differences(result: Result) -> list[str]:
    """Contestants whose final loss differs from the first one's: they did other work, so their times mean nothing."""
    losses = {name: [one["loss"] for one in rounds if one and "loss" in one] for name, rounds in result.rounds.items()}
    first, *others = [(name, values[0]) for name, values in losses.items() if values] or [("", 0.0)]
    title = f"{result.workload.title}: not the same work"
    return [
        f"{title}: {name} ends with a loss of {loss:.4f}, {first[0]} with {first[1]:.4f}"
        for name, loss in others
        if not abs(loss - first[1]) <= TOLERANCE * max(1.0, first[1])
    ]
