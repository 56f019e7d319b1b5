"""Saves of format 1: their state in the form of format 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base.checkpoint.expected import count as check_count
from base.checkpoint.expected import mapping, need, same_names

BLOCK = 64
"""Batches whose losses format 1 summed at once."""


def upgraded(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of format 1 as format 2 has it; what was not saved then is empty."""
    new = {name: value for name, value in state.items() if name not in ("own", "rng", "tally")}
    components: dict[str, Any] = {}
    for name, own in mapping(state["own"], "own").items():
        kind, _, rest = name.partition(" ")
        _add(components, f"losses.{rest}" if kind == "loss" else name, mapping(own, f"own[{name!r}]"))
    generators = {"generators": state["rng"], "threads": None}
    _check_tally(state["tally"])
    return new | {
        "losses": losses_of_format_1(state["tally"]),
        "components": components,
        "ranks": [generators],
        "learned": {"split": {}},
        "frozen": {},
        "config": None,
    }


def _add(components: dict[str, Any], path: str, own: Mapping[str, Any]) -> None:
    its: dict[str, Any] = {}
    for name, value in own.items():
        kind, inner = next(iter(value.items())) if isinstance(value, Mapping) and len(value) == 1 else ("", {})
        if name == "state_dict":
            its["state_dict"] = value
        elif kind == "state_dict":
            components[f"{path}.{name}"] = {"state_dict": _tagged(inner)}
        elif kind in ("attributes", "items"):
            _add(components, f"{path}.{name}", inner)
        else:
            its.setdefault("attributes", {})[name] = _tagged(value)
    if "attributes" in its and path not in components and all(name.isdigit() for name in map(str, its["attributes"])):
        return  # entries of a tuple, which are the config's own
    if its:
        components[path] = its


def _tagged(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"numpy"}:
            return {"array": value["numpy"]}
        return {"dict": {name: _tagged(item) for name, item in value.items()}}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_tagged(item) for item in value]}
    return value


def losses_of_format_1(state: Mapping[str, Any]) -> dict[str, Any]:
    """What format 1 kept of the losses of an epoch, as `LossMeans` keeps it: all were counted by samples."""
    sums: list[dict[str, float]] = []
    for saved in (state["before"], state["lap"]):
        totals = {name: float(total) for name, total in saved["sums"].items()}
        for name, (values, sizes) in saved["waiting"].items():
            waiting = sum(value * size for value, size in zip(values.tolist(), sizes, strict=True))
            totals[name] = totals.get(name, 0.0) + waiting
        sums.append(totals)
    before, lap = sums
    logged, samples = state["before"]["count"], state["before"]["count"] + state["lap"]["count"]
    means = {
        name: {
            "sum": before.get(name, 0.0) + lap.get(name, 0.0),
            "count": samples,
            "logged_sum": before.get(name, 0.0),
            "logged_count": logged,
        }
        for name in {**before, **lap}
    }
    return {"samples": samples, "parts": [], "means": means}


def _check_tally(saved: Any) -> None:
    for part, sums in same_names(("before", "lap"), saved, "tally").items():
        key = f"tally[{part!r}]"
        sums = same_names(("sums", "count", "waiting"), sums, key)
        check_count(sums["count"], f"{key}['count']")
        for name, total in mapping(sums["sums"], f"{key}['sums']").items():
            right = hasattr(total, "is_floating_point") and total.is_floating_point() and total.dim() == 0
            need(right, f"{key}['sums'][{name!r}]", total, "a floating-point tensor of shape ()")
        for name, waiting in mapping(sums["waiting"], f"{key}['waiting']").items():
            _check_waiting(waiting, f"{key}['waiting'][{name!r}]")


def _check_waiting(waiting: Any, key: str) -> None:
    need(isinstance(waiting, list) and len(waiting) == 2, key, waiting, "a list of losses and sizes")
    values, sizes = waiting
    need(isinstance(sizes, list) and 0 < len(sizes) < BLOCK, f"{key}[1]", sizes, f"a list of 1 to {BLOCK - 1} sizes")
    for number, size in enumerate(sizes):
        check_count(size, f"{key}[1][{number}]")
    right = hasattr(values, "is_floating_point") and values.is_floating_point() and values.dim() > 0
    right = right and len(values) == values.numel() == len(sizes)
    need(right, f"{key}[0]", values, f"a floating-point tensor of shape ({len(sizes)},)")
