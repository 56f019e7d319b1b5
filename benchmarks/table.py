"""From measurements to a Markdown table: medians with min and max, compared round by round."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

Rounds = Sequence[Mapping[str, float] | None]
"""The figures of one contestant in each round; None if it failed."""


def compare(own: Rounds, others: Rounds, figure: str, over: bool = False) -> list[float]:
    """Ratios or differences to the other contestant, round by round, because within a round both had the same load."""
    pairs = [(a[figure], b[figure]) for a, b in zip(own, others, strict=True) if a and b]
    return [a - b if over else a / b for a, b in pairs]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """`median [min..max]`; a single number if there is only one value."""
    if not values:
        return "failed"
    low, middle, high = (number(value, digits) for value in (min(values), median(values), max(values)))
    return f"{middle} [{low}..{high}]" if len(values) > 1 else middle


def number(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits: `0.0453`, `1.24`, `12,400`."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.{digits}g}".rstrip(".")


def table(
    results: Mapping[str, Rounds],
    compared: Mapping[str, str],
    shown: Mapping[str, str],
    over: bool = False,
) -> str:
    """One line per contestant, each compared with the first. `compared` and `shown` are headings by figure."""
    first = next(iter(results))
    relation = "over" if over else "x"
    head = ["contestant"]
    for heading in compared.values():
        head += [heading, f"{relation} {first}"]
    lines = [[*head, *shown.values()]]
    for name, rounds in results.items():
        line = [name]
        for figure in compared:
            line.append(spread([one[figure] for one in rounds if one]))
            line.append(ratio(compare(rounds, results[first], figure, over), over))
        line += [
            number(median(values)) if (values := [one[figure] for one in rounds if one]) else "failed"
            for figure in shown
        ]
        lines.append(line)
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratio(values: Sequence[float], over: bool) -> str:
    if not values:
        return "failed"
    low, middle, high = (
        f"{value:+.0f}" if over else f"{value:.2f}" for value in (min(values), median(values), max(values))
    )
    return f"{middle} [{low}..{high}]" if low != high else middle


def circumstances(rounds: int) -> str:
    """The kind of machine, versions and date, without which the figures mean nothing."""
    import importlib.metadata

    torch = importlib.metadata.version("torch").partition("+")[0]
    cores = f"{os.cpu_count()} cores"
    return (
        f"{processor()}, {cores}, {platform.system()}; Python {platform.python_version()}, torch {torch};"
        f" {datetime.date.today().isoformat()}; {rounds} round{'s' * (rounds != 1)}, one thread; median [min..max]"
    )


def processor() -> str:
    """The processor's model name, such as `Intel(R) Xeon(R) Platinum 8481C`."""
    described = Path("/proc/cpuinfo")
    if described.exists():
        for line in described.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
