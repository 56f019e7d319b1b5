"""Checks a config against its sections, the registries, and the signatures of the registered code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

import pydantic

from base.config.annotations import suggest_fix
from base.config.arguments import check_arguments
from base.config.cross_checks import check_monitor
from base.config.document import Document, KeyPath, dotted
from base.config.keys import Settings
from base.config.lookup import components, named
from base.discovery import allowed_plugins, load_plugin
from base.errors import Fault, did_you_mean, listing
from base.registry import LOSSES, OPTIMIZERS, REGISTRIES, TRAINERS, BrokenFile, UnknownName
from utils.process import command


def check_sections(document: Document) -> tuple[Settings | None, list[Fault]]:
    """The settings of a document, or None and the faults in its sections."""
    try:
        return Settings.model_validate(document.values), []
    except pydantic.ValidationError as errors:
        from base.config.messages import section_faults

        return None, section_faults(document, errors)


def check_code(document: Document, plugins: Iterable[str]) -> list[Fault]:
    """The faults that only the registered code shows: unknown names and wrong arguments. Imports torch."""
    faults = list(_load_plugins(document, plugins))
    found, trainer = components(document), document.values.get("trainer")
    if isinstance(trainer, dict) and "type" not in trainer:
        found.append((("trainer",), "Trainer", ("TRAINERS",)))
    for path, name, symbols in found:
        faults += _check_component(document, path, name, symbols)
    for path in named(document, "optimizer").values():
        faults += _check_groups(document, path)
    return faults


def check_logged(document: Document) -> list[Fault]:
    """The fault of a monitor that nothing logs, as far as the config decides what is logged."""
    trainer = document.values.get("trainer")
    losses = [document.get((*path, "type")) for path in named(document, "loss").values()]
    may_log_more = any(LOSSES.is_users(str(name)) for name in losses if name is not None)
    may_log_more |= isinstance(trainer, dict) and trainer.get("type", "Trainer") != "Trainer"
    if may_log_more or TRAINERS.is_users("Trainer"):
        return []
    return check_monitor(document)


def _check_component(document: Document, path: KeyPath, name: str, symbols: tuple[str, ...]) -> list[Fault]:
    origin, key = document.nearest((*path, "type")).origin, dotted((*path, "type"))
    unknown: list[UnknownName] = []
    for symbol in symbols:
        registry = REGISTRIES[symbol]
        try:
            target = registry.get(name)
        except UnknownName as error:
            unknown.append(error)
        except BrokenFile as error:
            return [Fault(origin, key, str(error))]
        else:
            return check_arguments(target, document, path, name, origin, registry.supplied_to(target))
    from base.config.near_misses import meant

    what = f"no {listing(error.kind for error in unknown)} is named {name!r}"
    known = [known for error in unknown for known in error.known]
    number = suggest_fix(name, name, float) if path[:2] == ("data", "valid") else ""
    hint = number or meant(name, known, symbols[0]) or _known(name, unknown, symbols[0])
    return [Fault(origin, key, what, hint=hint)]


def _check_groups(document: Document, optimizer: KeyPath) -> Iterator[Fault]:
    """The faults in arguments of parameter groups that the optimizer does not take."""
    kind, groups = document.get((*optimizer, "type")), document.get((*optimizer, "groups"))
    if kind is None or not isinstance(groups, list) or kind not in OPTIMIZERS:
        return
    target, origin = OPTIMIZERS.get(kind), document.sources[*optimizer, "type"].origin
    for i in range(len(groups)):
        group = (*optimizer, "groups", i)
        if isinstance(document.get((*group, "args")), dict):
            faults = check_arguments(target, document, group, kind, origin, OPTIMIZERS.supplied)
            yield from (fault for fault in faults if fault.what != f"{kind} needs this argument")


def _known(name: str, unknown: list[UnknownName], symbol: str) -> str:
    """Suggests the nearest name or names, and lists broken files that may define the name."""
    known = sorted({name for error in unknown for name in error.known})
    hidden = [f"{file} cannot be read ({why})" for error in unknown for file, why in error.broken.items()]
    if nearest := did_you_mean(name, known):
        return "; ".join([nearest, *hidden])
    few = listing(difflib.get_close_matches(name, known, n=5, cutoff=0))
    there_is = [f"there is {few}" if len(known) < 6 else f"there are {len(known)}, the nearest {few}"] if known else []
    return "; ".join([*there_is, *hidden, f"decorate yours with @{symbol}.register"])


def _load_plugins(document: Document, allowed_here: Iterable[str] = ()) -> Iterator[Fault]:
    """Imports the modules under `plugins`, as far as the project allows them."""
    plugins = document.values.get("plugins")
    if not isinstance(plugins, list):
        return
    allowed = allowed_plugins(allowed_here)
    for i, name in enumerate(plugins):
        if not isinstance(name, str):
            continue  # a fault of the section
        origin = document.sources["plugins", i].origin
        if name in allowed:
            try:
                load_plugin(allowed[name])
            except Exception as error:
                what = f"{name} cannot be imported: {type(error).__name__}: {error}"
                yield Fault(origin, f"plugins.{i}", what)
        else:
            allow = "list it in pyproject.toml under [tool.torch_atelier] plugins"
            hint = f"add {command('--plugin', name)} to the command, or {allow}"
            yield Fault(origin, f"plugins.{i}", f"{name!r} is not allowed here", hint=hint)
