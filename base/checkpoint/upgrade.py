"""The state of saves of format 1, in the form of format 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from base.checkpoint.expected import mapping


def upgraded(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of format 1 as format 2 has it; what was not saved then is empty."""
    new = {name: value for name, value in state.items() if name not in ("own", "rng")}
    components: dict[str, Any] = {}
    for name, own in mapping(state["own"], "own").items():
        kind, _, rest = name.partition(" ")
        _add(components, f"losses.{rest}" if kind == "loss" else name, mapping(own, f"own[{name!r}]"))
    generators = {"generators": state["rng"], "threads": None}
    return new | {
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
