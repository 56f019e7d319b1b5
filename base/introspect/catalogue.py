"""Describes registered names, as --list prints them: arguments, documentation, source, and how a config names them."""

from __future__ import annotations

import enum
import functools
import inspect
import itertools
import math
import re
import sys
import textwrap
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from base.config.annotations import NO_CONFIG, describe
from base.config.arguments import annotation, parameters
from base.config.document import dotted
from base.config.lookup import COMPONENT_PATHS
from base.config.reader import to_yaml
from base.discovery import Definition
from base.errors import UserError, did_you_mean, listing
from base.registry import REGISTRIES, Registry, index

YOURS, FRAMEWORK = "yours", "the framework's"


@dataclass(frozen=True)
class Argument:
    name: str
    annotation: Any
    default: Any
    """`Parameter.empty` if the argument is required."""
    about: str
    """A sentence from the docstring; may be empty."""

    @property
    def needed(self) -> bool:
        return self.default is Parameter.empty

    @property
    def words(self) -> str:
        """A description of the values that it accepts."""
        return describe(self.annotation)

    @property
    def writable(self) -> bool:
        """False if it is required and no config can express a value for it."""
        return not (self.needed and NO_CONFIG in self.words)


@dataclass(frozen=True)
class Entry:
    """One registered name."""

    registry: Registry
    name: str
    target: Any
    source: str
    """YOURS, FRAMEWORK, or the public name of a library's module."""
    place: str
    """`model/mine.py:12`, or `torch.optim.SGD`."""
    about: str
    arguments: tuple[Argument, ...]
    takes_any: bool
    """True if it also accepts other arguments through `**kwargs`, which cannot be checked."""

    @property
    def public_name(self) -> str:
        return public_name(self.target, self.name)

    def unset(self, given: Collection[str]) -> list[Argument]:
        """The arguments that keep their defaults if a config gives `given`."""
        return [argument for argument in self.arguments if argument.name not in given and not argument.needed]


def names_by_source(registry: Registry) -> dict[str, list[str]]:
    """The sorted names of a registry, by source. Imports libraries, but no file of the project."""
    found: dict[str, list[str]] = {}
    for name in registry.names():
        found.setdefault(_source(registry, name), []).append(name)
    order = {YOURS: 0, FRAMEWORK: 1}
    return dict(sorted(found.items(), key=lambda item: (order.get(item[0], 2), item[0])))


def entry(registry: Registry, name: str) -> Entry:
    """Everything about one name. Raises the same exceptions as `registry.get`."""
    target = registry.get(name)
    definition = _definition(registry, name)
    known, takes_any = parameters(target)
    hidden = registry.supplied_to(target)
    about = argument_docs(target)
    return Entry(
        registry,
        name,
        target,
        _source(registry, name),
        definition.place if definition else public_name(target, name),
        doc_line(target),
        tuple(
            Argument(p.name, annotation(target, p), p.default, about.get(p.name, ""))
            for p in known.values()
            if p.name not in hidden and not p.name.startswith("_")
        ),
        takes_any,
    )


def _definition(registry: Registry, name: str) -> Definition | None:
    """Where the result of `registry.get` is defined, if that is a file of the project."""
    users, own = index().users.get((registry.symbol, name)), index().own.get((registry.symbol, name))
    return users[0] if users else None if registry.is_users(name) else own


def _source(registry: Registry, name: str) -> str:
    if registry.is_users(name):
        return YOURS
    if (registry.symbol, name) in index().own:
        return FRAMEWORK
    return public_name(registry.get(name), name).rpartition(".")[0]


def public_name(target: Any, name: str) -> str:
    """The shortest import path: `torch.optim.SGD` for the class that torch/optim/sgd.py defines."""
    target = inspect.unwrap(target)
    parts = target.__module__.split(".")
    for end, known in itertools.product(range(1, len(parts) + 1), (name, target.__name__)):
        found = vars(sys.modules.get(".".join(parts[:end]), sys)).get(known)
        if found is not None and inspect.unwrap(found) is target:
            return ".".join([*parts[:end], known])
    return f"{target.__module__}.{target.__name__}"


def doc_line(target: Any) -> str:
    """The first sentence of the target's own docstring, without markup; empty if it has none."""
    own = vars(target).get("__doc__") if inspect.isclass(target) else getattr(target, "__doc__", None)
    text = re.split(r"\n\s*(?:\n|\.\. |Args:|>>>)", inspect.cleandoc(own or ""), maxsplit=1)[0]
    return _sentence(text)


def _sentence(text: str) -> str:
    """The first sentence without reStructuredText markup, cut to 160 characters."""
    text = re.sub(r":\w+(?::\w+)?:`~?([^`]*)`", lambda m: m[1].rpartition(".")[2] or m[1], text)
    text = re.sub(r"`([^`<]*?)\s*<[^`>]*>`_*", r"\1", text)
    text = re.sub(r"\[\w+\]\s*|(?<=\w)_(?=\W|$)", "", re.sub(r"`+|\*\*", "", " ".join(text.split())))
    first = re.split(r"(?<=[a-z0-9)\]])\.(?:\s|$)", text, maxsplit=1)[0].strip()
    return first if len(first) <= 160 else first[:157].rsplit(" ", 1)[0] + " ..."


_ARGUMENT = re.compile(r"^(\s+|(?=`))(?:[-*] )?[*`]{0,2}(\w+)[*`]{0,2}\s*(?:\(([^()]|\([^()]*\))*\))?\s*:\s+(\S.*)$")


@functools.cache
def argument_docs(target: Any) -> dict[str, str]:
    """One sentence about each argument from the docstrings of a class and its bases: in Google style under `Args:`, or
    in a paragraph that starts with the name in backticks and a colon."""
    owners = target.__mro__ if inspect.isclass(target) else (inspect.unwrap(target),)
    found: dict[str, str] = {}
    for owner in owners:
        for text in (getattr(vars(owner).get("__init__"), "__doc__", None), vars(owner).get("__doc__")):
            found = _argument_docs(text or "") | found
    return found


def _argument_docs(text: str) -> dict[str, str]:
    lines, found = inspect.cleandoc(text).splitlines(), dict[str, str]()
    for i, line in enumerate(lines):
        match = _ARGUMENT.match(line)
        if match:
            indent, rest = len(match[1]), [match[4]]
            for more in lines[i + 1 :]:
                if not more.strip() or (indent and len(more) - len(more.lstrip()) <= indent):
                    break
                rest.append(more.strip())
            found.setdefault(match[2], _sentence(re.sub(r"\s*\(?[Dd]efaults?:.*$", "", " ".join(rest))))
    return {name: about for name, about in found.items() if about}


def plain(value: Any) -> Any:
    """A default value in the form that a config uses. ValueError for a value that no config can express."""
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if type(value).__module__ == "torch" and type(value).__name__ in ("dtype", "device"):
        return str(value).removeprefix("torch.")
    raise ValueError(f"no config can write {value!r}")


def inline(value: Any) -> str:
    """A value of a config as one line of YAML."""
    return "[]" if value == [] else to_yaml(value, inline=True).removesuffix("...\n").strip()


def default_text(value: Any) -> str:
    """A default value on one line: as YAML, or a name if no config can express it."""
    try:
        return inline(plain(value))
    except ValueError:
        return str(getattr(value, "__name__", type(value).__name__))


def place_of(symbol: str) -> str:
    """The config key for the components of a registry; empty if only the program uses them."""
    return next((dotted(path) for path, symbols in COMPONENT_PATHS.items() if symbol == symbols[0]), "")


_FACTS = {
    "num_classes": "${data.num_classes}",
    "total_steps": "${trainer.total_steps}",
    "T_max": "${trainer.epochs}",
}
"""The fact that an argument of this name usually refers to."""


def block(entry: Entry) -> str:
    """The YAML of a component with its required arguments; replace `<...>` by a value. Empty if a config cannot name
    the component."""
    place = place_of(entry.registry.symbol)
    if not place or not all(argument.writable for argument in entry.arguments):
        return ""
    facts = {} if place == "data.train" else _FACTS  # no fact is known before the data is read
    args = {
        argument.name: facts.get(argument.name, f"<{argument.words}>")
        for argument in entry.arguments
        if argument.needed or argument.name in facts
    }
    component: Any = {"type": entry.name, **({"args": args} if args else {})}
    for part in reversed(place.split(".")):
        component = [component] if part == "#" else {part: component}
    return to_yaml(component, inline=True)


_WIDTH = 100


class UnknownListing(UserError):
    """The word after `--list` is neither a kind nor a name."""

    exit_code = 2


def describe_registry(word: str = "") -> str:
    """The text for a kind (`losses`, `loss`), for a name (`SGD`), or, if `word` is empty, for all kinds."""
    if not word:
        return _kinds()
    for registry in REGISTRIES.values():
        if word in (registry.symbol.lower(), registry.kind):
            return _kind(registry)
    found = [registry for registry in REGISTRIES.values() if word in registry]
    if not found:
        kinds = [symbol.lower() for symbol in REGISTRIES]
        names = [name for registry in REGISTRIES.values() for name in registry.names()]
        hint = did_you_mean(word, [*kinds, *names]) or f"kinds are {listing(kinds, 'and', most=len(kinds))}"
        raise UnknownListing(f"--list {word}: neither a kind nor a name; {hint}")
    return "\n\n".join(describe_entry(entry(registry, word)) for registry in found)


def _kinds() -> str:
    lines = []
    for symbol, registry in REGISTRIES.items():
        counts = [f"{len(names)} {_from(source)}" for source, names in names_by_source(registry).items()]
        place = place_of(symbol).replace(".#", " (a list)") or "(used by the program only)"
        lines.append(f"{symbol.lower():<12} {place:<29} {', '.join(counts) or 'none yet'}")
    lines += _broken()
    return "\n".join([f"{'kind':<12} {'key of the config':<29} names", *lines, "", "--list losses, --list SGD: more"])


def _broken() -> Iterator[str]:
    for file, why in index().broken.items():
        yield f"{file} cannot be read ({why})"


def _from(source: str) -> str:
    return source if source in (YOURS, FRAMEWORK) else f"of {source}"


def _kind(registry: Registry) -> str:
    parts = []
    for source, names in names_by_source(registry).items():
        wrapped = textwrap.fill(", ".join(names), _WIDTH, initial_indent="  ", subsequent_indent="  ")
        parts.append(f"{_from(source)}:\n{wrapped}")
    parts = parts or [f"none yet; decorate yours with @{registry.symbol}.register"]
    return "\n".join([*parts, *_broken()])


def describe_entry(one: Entry) -> str:
    """A name's documentation, source and arguments, and the YAML to use it."""
    lines = [f"{one.registry.kind} {one.name}, {one.place}", *([f"  {one.about}"] if one.about else [])]
    if one.arguments:
        lines += ["", *(line for argument in one.arguments for line in _argument(argument))]
    if one.takes_any:
        lines += ["  other arguments are accepted, but not checked"]
    if one.name not in one.registry.names():
        lines += ["", "it needs a closure, so it works only with a trainer that calls its step itself"]
    if example := block(one):
        lines += ["", example.rstrip()]
    else:
        unwritable = [argument.name for argument in one.arguments if not argument.writable]
        why = f"a config cannot express {listing(unwritable, 'and')}" if unwritable else "only the program uses it"
        lines += ["", f"a config cannot use it: {why}"]
    return "\n".join(lines)


def _argument(argument: Argument) -> Iterator[str]:
    text = "" if argument.needed else default_text(argument.default)
    default = f"default {text if len(text) <= 60 else text[:57] + '...'}" if text else "needed"
    yield f"  {argument.name}: {argument.words}; {default}"
    if argument.about:
        yield from textwrap.wrap(argument.about, _WIDTH, initial_indent="      ", subsequent_indent="      ")
