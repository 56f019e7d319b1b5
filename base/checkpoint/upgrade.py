"""Saves of format 1: their state in the form of format 2, and where its meaning has changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from base.checkpoint.expected import mapping
from base.errors import CheckpointError, listing
from base.runs.run_dir import save_number

if TYPE_CHECKING:
    from base.checkpoint.format import Checkpoint
    from base.loop.components import RunningTrainer

log = logging.getLogger(__name__)


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


def look_at_counts(trainer: RunningTrainer, saved: Checkpoint) -> None:
    """One line if format 1 counted otherwise what this run counts. CheckpointError if the save lies within an epoch:
    its sums cannot be continued."""
    changed = [*_counted_otherwise(trainer)]
    if saved.info["format"] > 1 or not changed:
        return
    what = f"{saved.path} was saved by an earlier version, which counted otherwise: {listing(changed, 'and')}"
    if saved.info["phase"] == "epoch end" or not saved.info["step"]:
        log.warning("%s; from here on it is counted as now", what)
        return
    ends = [name for name in _ends_of_epochs(saved) if save_number(name) < save_number(saved.name)]
    instead = f"resume from {saved.path.parent / ends[-1]}" if ends else "start anew, with init_from for its weights"
    raise CheckpointError(f"{what}; in the middle of an epoch the sums cannot go on: {instead}")


def _counted_otherwise(trainer: RunningTrainer) -> Iterator[str]:
    if trainer.parts.averages:
        yield "trainer.ema"
    kinds = (nn.CrossEntropyLoss, nn.NLLLoss)
    for path, one in trainer.parts.states.objects.items():
        if isinstance(one, kinds) and path.startswith("losses.") and (one.weight is not None or one.ignore_index >= 0):
            yield f"{type(one).__name__} by the weights of the targets that count, not by samples"


def _ends_of_epochs(saved: Checkpoint) -> list[str]:
    names = []
    for folder in saved.path.parent.glob("*-step-*"):
        try:
            if json.loads((folder / "manifest.json").read_bytes())["phase"] == "epoch end":
                names.append(folder.name)
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return sorted(names, key=save_number)
