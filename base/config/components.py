"""Every component of a config against the registries: does its name exist, can it be called with its arguments."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from base.config.nodes import Node, Place, dotted
from base.config.places import components, named
from base.config.signature import check
from base.config.words import mend
from base.errors import Fault, did_you_mean, listing
from base.plugins import allowed_plugins, load_plugin
from base.registry import OPTIMIZERS, REGISTRIES, BrokenFile, Registry, UnknownName
from utils.shell import command

_CALLED_WITH = {"LOSSES": 2, "METRICS": 2, "TRANSFORMS": 1, "FUNCTIONS": 1}
"""How many arguments the program gives, by position, to a plain function of these registries."""


def check_components(tree: Node) -> list[Fault]:
    """All that is wrong with the names and arguments of components; torch is imported."""
    faults = [fault for place, node, symbols in _components(tree) for fault in _check(place, node, symbols)]
    return [*faults, *(fault for place, node in named(tree, "optimizer").values() for fault in _groups(place, node))]


def _components(tree: Node) -> Iterator[tuple[Place, Node, tuple[str, ...]]]:
    yield from components(tree)
    trainer = tree.at(("trainer",))
    if trainer is not None and trainer.is_map and "type" not in trainer:
        default = Node("Trainer", trainer.origin)
        yield ("trainer",), Node({**trainer.value, "type": default}, trainer.origin), ("TRAINERS",)


def _check(place: Place, node: Node, symbols: tuple[str, ...]) -> list[Fault]:
    named = node.value["type"]
    at = (named.origin, dotted((*place, "type")))
    unknown: list[UnknownName] = []
    for symbol in symbols:
        registry = REGISTRIES[symbol]
        try:
            target = registry.get(named.value)
        except UnknownName as error:
            unknown.append(error)
        except BrokenFile as error:
            return [Fault(*at, str(error))]
        else:
            return check(target, node, place, supplied(registry, target))
    what = f"no {listing(error.kind for error in unknown)} is named {named.value!r}"
    return [Fault(*at, what, hint=mend(named, float) or _known(named.value, unknown, symbols[0]))]


def _groups(place: Place, optimizer: Node) -> Iterator[Fault]:
    """What the optimizer could not be given as a group's arguments."""
    kind, groups = optimizer.at(("type",)), optimizer.at(("groups",))
    if kind is None or groups is None or not groups.is_list or kind.value not in OPTIMIZERS:
        return
    target = OPTIMIZERS.get(kind.value)
    for i, group in enumerate(groups.value):
        args = group.at(("args",))
        if args is not None and args.is_map:
            needed = f"{kind.value} needs this argument"
            faults = check(
                target, Node({"type": kind, "args": args}, args.origin), (*place, "groups", i), OPTIMIZERS.supplied
            )
            yield from (fault for fault in faults if fault.what != needed)


def supplied(registry: Registry, target: Any) -> tuple[str, ...]:
    """The parameters of `target` that the program fills in."""
    count = 0 if inspect.isclass(target) else _CALLED_WITH.get(registry.symbol, 0)
    if not count:
        return registry.supplied_to(target)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [p.name for p in inspect.signature(target).parameters.values() if p.kind in positional]
    return (*registry.supplied, *given[:count])


def _known(name: str, unknown: list[UnknownName], symbol: str) -> str:
    """The nearest name, or a few of them; and the files in which the name may be hidden."""
    known = sorted({name for error in unknown for name in error.known})
    hidden = [f"{file} cannot be read ({why})" for error in unknown for file, why in error.broken.items()]
    if nearest := did_you_mean(name, known):
        return "; ".join([nearest, *hidden])
    few = listing(difflib.get_close_matches(name, known, n=5, cutoff=0))
    there_is = [f"there is {few}" if len(known) < 6 else f"there are {len(known)}, the nearest {few}"] if known else []
    return "; ".join([*there_is, *hidden, f"decorate yours with @{symbol}.register"])


def load_plugins(tree: Node, allowed_here: Iterable[str] = ()) -> list[Fault]:
    """Imports the modules under `plugins`, as far as the project allows them."""
    plugins = tree.at(("plugins",))
    faults: list[Fault] = []
    if plugins is None or not plugins.is_list:
        return faults
    allowed = allowed_plugins(allowed_here)
    for i, node in enumerate(plugins.value):
        if not isinstance(node.value, str):
            continue  # which the sections tell
        if node.value in allowed:
            try:
                load_plugin(allowed[node.value])
            except Exception as error:
                what = f"{node.value} cannot be imported: {type(error).__name__}: {error}"
                faults.append(Fault(node.origin, f"plugins.{i}", what))
        else:
            allow = "list it in pyproject.toml under [tool.torch_atelier] plugins"
            hint = f"add {command('--plugin', node.value)} to the command, or {allow}"
            faults.append(Fault(node.origin, f"plugins.{i}", f"{node.value!r} is not allowed here", hint=hint))
    return faults
