"""Translates configs of pytorch-template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches

from base.config.document import ALIASES, Document, KeyPath, Source, dotted, nested
from base.config.fields import Component, Section
from base.config.keys import Settings
from base.config.lookup import section_of
from base.errors import Fault

SPLIT = "split"
"""`data.valid` for a loader that splits off its validation part itself."""


def translate(files: Sequence[Document], faults: list[Fault], notes: list[str]) -> list[Document]:
    """Returns the files in the framework's layout, and adds a note for the user."""
    own = {key: None for file in reversed(files) for key in _translate(file, faults)}
    listed = f"; keys of your own: {', '.join(own)}" if own else ""
    notes.append(f"read as a config of pytorch-template{listed}")
    return list(files)


def _translate(file: Document, faults: list[Fault]) -> list[str]:
    """Changes one file to the framework's layout. Returns the dotted names of the project's own keys."""
    for alias, ours in ALIASES.items():
        if alias in file.values and ours in file.sources:
            hint = f"it means the same as {dotted(ours)}, which is also given; keep one of them"
            faults.append(Fault(file.sources[alias,].key_origin, alias, "given twice", hint=hint))
    _rename(file)
    found: list[KeyPath] = []
    _set_aside(file, Settings, (), found, faults)
    for path in found:
        knob = file.pop(path)
        assert knob is not None
        _put(file, ("project", *path), knob)
    _reshape(file)
    return [dotted(path) for path in found]


def _rename(file: Document) -> None:
    loader = file.sources.get(("data_loader",))
    split = ("data_loader", "args", "validation_split")
    splits = split not in file.sources or file.get(split) not in (0, None)
    renamed = {ours: part for alias, ours in ALIASES.items() if (part := file.pop((alias,)))}
    for ours, part in renamed.items():
        _put(file, ours, part)
    if loader is not None and splits and ("data", "valid") not in file.sources:
        source = Source(loader.origin, loader.key_origin, SPLIT)
        _put(file, ("data", "valid"), Document(SPLIT, {(): source}))


def _put(file: Document, path: KeyPath, part: Document) -> None:
    """Sets the value at `path` to `part`. Mappings that have to be created get the origin of `part`."""
    source = part.sources[()]
    for length in range(1, len(path)):
        if not isinstance(file.get(path[:length]), dict):
            around = file.sources.get(path[:length], Source(source.origin, source.key_origin))
            file.put(path[:length], Document({}, {(): around}))
    file.put(path, part)


def _set_aside(file: Document, section: type[Section], at: KeyPath, found: list[KeyPath], faults: list[Fault]) -> None:
    """Collects the unknown keys at `at`: in `faults` if they look like typos of the section's keys, else in `found`."""
    values = file.get(at)
    for key, value in list(values.items()):
        path = (*at, key)
        field = section.model_fields.get(key)
        if field is None:
            known = [*section.model_fields, *(() if at else ALIASES)]
            if meant := near_miss(key, [name for name in known if name not in values]):
                hint = f"did you mean {meant!r}? rename the key if it is your own"
                faults.append(Fault(file.sources[path].key_origin, _as_written(path), "unknown key", hint=hint))
                file.pop(path)
            else:
                found.append(path)
            continue
        inner = section_of(field.annotation)
        by_name = "dict[" in str(field.annotation) or (inner is not None and issubclass(inner, Component))
        if inner is not None and isinstance(value, dict) and ("type" in value or not by_name):
            _set_aside(file, inner, path, found, faults)


def near_miss(key: str, known: list[str]) -> str | None:
    """The known name of which `key` looks like a typo. A known name with a suffix (`optimizer_G`, `tensorboardX`) is
    the project's own key."""
    candidates = [
        name for name in known if abs(len(name) - len(key)) < 2 and not re.fullmatch(rf"{re.escape(name)}[^a-z].*", key)
    ]
    return next(iter(get_close_matches(key, candidates, 1, 0.75)), None)


def _reshape(file: Document) -> None:
    """Rewrites values whose structure differs in pytorch-template."""
    if isinstance(file.get(("metrics",)), dict):
        metrics = list(_metrics(file.part(("metrics",))))
        entries = {(i, *path): source for i, metric in enumerate(metrics) for path, source in metric.sources.items()}
        values = [metric.values for metric in metrics]
        file.put(("metrics",), Document(values, {(): file.sources["metrics",], **entries}))
    stop = ("trainer", "early_stop")
    if type(file.get(stop)) in (int, float) and file.get(stop) <= 0:
        file.put(stop, Document("off", {(): file.sources[stop]}))


def _metrics(metrics: Document) -> Iterator[Document]:
    """The metrics in a mapping from logged names to components, from types to arguments, or from names to groups."""
    for key, value in metrics.values.items():
        entry = metrics.part((key,))
        source = entry.sources[()]
        name = Document(key, {(): Source(source.key_origin, source.key_origin, key)})
        if isinstance(value, list):
            yield from (entry.part((i,)) for i in range(len(value)))
        elif isinstance(value, dict) and "type" in value:
            if "name" not in value:
                entry.put(("name",), name)
            yield entry
        elif isinstance(value, str):
            named = nested(("type",), entry, Source(source.origin, source.key_origin))
            named.put(("name",), name)
            yield named
        else:
            args = entry.part(("args",)) if isinstance(value, dict) and "args" in value else entry
            if not isinstance(args.values, dict):
                args = Document({}, {(): source})
            typed = nested(("type",), name, Source(source.origin, source.origin))
            typed.put(("args",), args)
            yield typed


def in_their_words(fault: Fault) -> Fault:
    """The fault with its key as it is written in the file."""
    return replace(fault, key=_as_written(tuple(fault.key.split("."))))


def _as_written(path: KeyPath) -> str:
    aliases = ((alias, path[len(ours) :]) for alias, ours in ALIASES.items() if path[: len(ours)] == ours)
    alias, rest = next(aliases, ("", path))
    return dotted((alias, *rest) if alias else rest)
