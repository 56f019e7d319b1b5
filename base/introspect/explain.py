"""What --explain prints: every value of a config with its origin, and the program's decisions with their reasons."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.config import Config
from base.config.arguments import fact, fact_and_index, value_of
from base.config.document import KeyPath, dotted
from base.config.lookup import field_at, registries_at
from base.config.torch_facts import usual_unit
from base.errors import ConfigError, Origin, UserError, did_you_mean
from base.introspect.catalogue import Entry, default_text, entry, inline, plain
from base.registry import REGISTRIES

if TYPE_CHECKING:
    from base.build import Builder


def decisions(config: Config) -> tuple[dict[str, str], Mapping[str, Any]]:
    """The program's decisions where the config leaves a choice, with the reasons; and the facts, if they are known.
    Data is read if it is on the disk, but never downloaded."""
    from base.build import Builder
    from utils.device import available_devices, select_device

    settings, found = config.settings, dict[str, str]()
    if settings.device == "auto":
        present = ", ".join(available_devices())
        found["device"] = f"{select_device('auto')}: auto takes the first of cuda, mps, cpu, and there is {present}"
    for link in (link for chain in settings.schedules.values() for link in chain):
        if link.every is None:
            found[link.type] = f"steps every {usual_unit(link.type)}, as is usual for it"
    as_it_lies = Config.from_dict(config.to_dict(), config.source, ["data.offline=error"], plugins=settings.plugins)
    try:
        builder = Builder(as_it_lies, {})  # a builder that is given decisions, even none, never downloads
        builder.load_data()
    except UserError as error:
        first = str(error).splitlines()[0].removesuffix(", or set data.offline: synthetic to go without")
        unless = "synthetic unless it can be fetched" if settings.data.offline == "synthetic" else "not known"
        return found | {"data": f"{unless}: {first}"}, {}
    for name, optimizer in settings.optimizers.items():
        if optimizer.fused is None:
            kind, device, fused = optimizer.type, builder.device.type, builder.fused(optimizer)
            found[settings.place("optimizer", name).replace("optimizer", "fused", 1)] = (
                f"true: one kernel for all parameters makes {kind} faster on {device}, if its parameters allow it"
                if fused
                else f"false: {kind} gains nothing from it on {device}, and its bits would differ"
            )
    found["data"] = builder.data.decisions["data"]
    for kind in ("in_memory", "on_device"):
        for label, decided in builder.data.decisions[kind].items():
            found[f"{kind.replace('_', ' ')}, {label}"] = f"{'yes' if decided[kind] else 'no'}: {decided['reason']}"
    return found, _known(builder)


def _known(builder: Builder) -> dict[str, Any]:
    """The facts that are known from the data."""
    facts = dict(builder.facts)
    for name in builder.data.facts:
        with contextlib.suppress(UserError, TypeError, ValueError, KeyError):
            facts[name] = builder.data.facts[name]
    return facts


_REMARK = "\t# "
"""Separates a line of YAML from its remark, until the remarks are aligned."""


def explain(config: Config, key: str = "") -> str:
    """The text for a whole config, or for the part of it at `key` (`optimizer.args.lr`).

    Raises ConfigError if there is nothing at `key`.
    """
    if key:
        return _aligned(_Explained(config, {}).one(key).splitlines())
    decided, facts = decisions(config)
    text = _Explained(config, facts)
    width = max(map(len, decided), default=0)
    reasons = [f"#   {name:<{width}} {why}" for name, why in decided.items()]
    return _aligned([*text.lines(text.values, ()), "", "# decided by the program", *reasons])


class _Explained:
    def __init__(self, config: Config, facts: Mapping[str, Any]) -> None:
        self.config, self.facts = config, facts
        self.values = config.to_dict()

    def one(self, key: str) -> str:
        path: KeyPath = tuple(int(part) if part.isdecimal() else part for part in key.split("."))
        value: Any = self.values
        for i, part in enumerate(path):
            inside = _children(value)
            if part not in inside:
                return self._default_argument(key, path, i, inside)
            value = inside[part]
        if isinstance(value, Mapping | list) and value:
            return "\n  ".join([f"{key}:", *self.lines(value, path)])
        field = field_at(path)
        about = [field.description] if field and field.description else []
        return "\n  ".join([f"{key}: {inline(value)}", *self._remarks(path, value), *about])

    def _default_argument(self, key: str, path: KeyPath, known: int, inside: Mapping[Any, Any]) -> str:
        """The text for an argument that the config does not give. ConfigError if there is no such argument."""
        is_argument = known == len(path) - 1 and path[known - 1] == "args"
        component = self._entry_at(path[: known - 1]) if is_argument else None
        defaults = {argument.name: argument for argument in component.unset(inside)} if component else {}
        if component and (argument := defaults.get(str(path[-1]))):
            lines = [f"{key}: {default_text(argument.default)}", f"default of {component.public_name}", argument.about]
            return "\n  ".join(filter(None, lines))
        hint = did_you_mean(path[known], map(str, [*inside, *defaults]))
        fault = self.config.fault(dotted(path[:known]), f"there is no key {key}", hint=hint)
        raise ConfigError([fault], self.config.source)

    def lines(self, value: Any, path: KeyPath) -> Iterator[str]:
        """The YAML lines of the entries of a mapping or list."""
        if isinstance(value, Mapping):
            for key, child in value.items():
                yield from self._entry(f"{inline(key)}:", child, (*path, key))
            if path and path[-1] == "args":
                yield from self._default_lines(path[:-1], value)
        elif isinstance(value, list):
            for i, child in enumerate(value):
                yield from self._entry("-", child, (*path, i))

    def _entry(self, head: str, child: Any, path: KeyPath) -> Iterator[str]:
        is_args = path[-1] == "args" and self._entry_at(path[:-1]) is not None
        is_flat = isinstance(child, list) and not any(isinstance(item, Mapping | list) for item in child)
        if not is_args and (is_flat or not child or not isinstance(child, Mapping | list)):
            yield f"{head} {inline(child)}{_REMARK}{'; '.join(self._remarks(path, child))}"
            return
        inner = [f"  {line}" for line in self.lines(child, path)]
        dropped = [f"  # dropped: {was}" for was in self._covered(path)] if isinstance(child, Mapping) else []
        if head == "-" and inner:
            yield from (f"- {inner[0][2:]}", *inner[1:], *dropped)
        elif inner:
            yield from (head, *dropped, *inner)

    def _remarks(self, path: KeyPath, value: Any) -> list[str]:
        """Where a value comes from, and what it overrides."""
        key = dotted(path)
        origin = self._origin(self.config.origin(key))
        name = fact(value)
        if name is not None:
            there = fact_and_index(name)[0] in self.facts
            known = inline(value_of(name, self.facts)) if there else "known once the data is read"
            origin = f"{name.partition('.')[0]}: {known}; {origin}"
        written = self.config.written(key)
        referred = [f"the value of {written.reference}"] if written and written.reference else []
        return [origin, *referred, *(f"instead of {was}" for was in self._covered(path))]

    def _covered(self, path: KeyPath) -> Iterator[str]:
        written = self.config.written(dotted(path))
        for overridden in written.overridden if written else ():
            for inner, source in overridden.sources.items():
                value = overridden.get(inner)
                if not (isinstance(value, dict | list) and value):
                    name = f"{dotted(inner)}: " if inner else ""
                    yield f"{name}{inline(value)} ({self._origin(source.origin)})"

    def _origin(self, origin: Origin) -> str:
        if not origin.line:
            return str(origin)
        at = f"{origin.source}:{origin.line}"
        if origin.source == Path(self.config.source).as_posix():
            return f"checkpoint {at}" if self.config.of_run else at
        return f"extends {at}"

    def _entry_at(self, path: KeyPath) -> Entry | None:
        """The catalogue entry of the component at `path`."""
        name: Any = self.values
        for part in (*path, "type"):
            name = _children(name).get(part)
        symbols = registries_at(path) if isinstance(name, str) else ()
        found = [REGISTRIES[symbol] for symbol in symbols if name in REGISTRIES[symbol]]
        return entry(found[0], name) if found else None

    def _default_lines(self, path: KeyPath, given: Mapping[str, Any]) -> Iterator[str]:
        component = self._entry_at(path)
        if component is None:
            return
        for argument in component.unset(given):
            try:
                line = f"{argument.name}: {inline(plain(argument.default))}"
            except ValueError:
                line = f"# {argument.name}: {default_text(argument.default)}"
            yield f"{line}{_REMARK}default of {component.public_name}"
        names = {argument.name for argument in component.arguments}
        for name in (name for name in given if name not in names):
            yield f"# {name} is not checked: {component.name} accepts any argument"


def _children(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else dict(enumerate(value if isinstance(value, list) else ()))


def _aligned(lines: list[str]) -> str:
    parts = [line.partition(_REMARK) for line in lines]
    column = max((len(line) for line, mark, _ in parts if mark and len(line) < 60), default=0)
    return "\n".join(f"{line:<{column}}  # {remark}" if mark else line for line, mark, remark in parts)
