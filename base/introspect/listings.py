"""What --list prints: the kinds of components, the names of one kind, or everything about one name."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from base.errors import UserError, did_you_mean, listing
from base.introspect.catalogue import (
    FRAMEWORK,
    YOURS,
    Argument,
    Entry,
    block,
    default_text,
    entry,
    names_by_source,
    place_of,
)
from base.registry import REGISTRIES, Registry, index

_WIDTH = 100


class UnknownListing(UserError):
    """The word after `--list` is neither a kind nor a name."""

    exit_code = 2


def describe_registry(word: str = "") -> str:
    """The text for a kind (`losses`, `loss`), for a name (`SGD`), or, without a word, for all kinds."""
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
    return "\n\n".join(describe(entry(registry, word)) for registry in found)


def _kinds() -> str:
    lines = []
    for symbol, registry in REGISTRIES.items():
        counts = [f"{len(names)} {_from(source)}" for source, names in names_by_source(registry).items()]
        place = place_of(symbol).replace(".#", " (a list)") or "(the program asks for these)"
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


def describe(one: Entry) -> str:
    """A name's documentation, place and arguments, and the YAML that names it."""
    lines = [f"{one.registry.kind} {one.name}, {one.place}", *([f"  {one.about}"] if one.about else [])]
    if one.arguments:
        lines += ["", *(line for argument in one.arguments for line in _argument(argument))]
    if one.takes_any:
        lines += ["  any other argument is taken, and not checked"]
    if one.name not in one.registry.names():
        lines += ["", "only for a trainer that calls its step itself: it needs a closure"]
    if example := block(one):
        lines += ["", example.rstrip()]
    else:
        unwritable = [argument.name for argument in one.arguments if not argument.writable]
        why = f"no config can write {listing(unwritable, 'and')}" if unwritable else "only the program asks for it"
        lines += ["", f"no key of a config names it: {why}"]
    return "\n".join(lines)


def _argument(argument: Argument) -> Iterator[str]:
    text = "" if argument.needed else default_text(argument.default)
    default = f"default {text if len(text) <= 60 else text[:57] + '...'}" if text else "needed"
    yield f"  {argument.name}: {argument.words}; {default}"
    if argument.about:
        yield from textwrap.wrap(argument.about, _WIDTH, initial_indent="      ", subsequent_indent="      ")
