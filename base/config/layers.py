"""Merges files that extend each other, and overrides on top of them, into one document."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import yaml

from base.config.annotations import fits
from base.config.document import ALIASES, Document, KeyPath, Source, dotted, from_plain, nested
from base.config.lookup import KEYS_OF_ONE, component_paths, field_at, named, nullable, of_another_kind
from base.config.reader import SHORT_FLAGS, flags_of, read_yaml
from base.errors import Fault, Origin, listing
from utils.process import command

Keys = tuple[str, ...]
Overrides = Sequence[str] | Mapping[str, Any]
_OFF = ("off", "auto", "split")
"""Texts that may stand in place of a component and do not name one."""
_KEY = re.compile(r"[a-z_]+(\.\w+)+")
_PATH = re.compile(r"[^.\s=-][^.\s=]*(\.[^.\s=]+)*")


def merge_files(files: Sequence[Document], faults: list[Fault], notes: list[str]) -> Document:
    """Merges files that extend each other, base last, and writes out bare names. If one of them has the shape of
    pytorch-template's config, all are translated, and `notes` says so.
    """
    if any(_is_template_shaped(file.values) for file in files):
        from base.legacy.config_file import translate

        files = translate(files, faults, notes)
    *above, merged = [write_out_names(file) for file in files]
    for layer in reversed(above):
        merge(merged, layer)
    return merged


def _is_template_shaped(values: Mapping[str, Any]) -> bool:
    """True for a file with `arch`, or with `data_loader` as a component."""
    loader = values.get("data_loader")
    return "arch" in values or isinstance(loader, str) or (isinstance(loader, dict) and "type" in loader)


def write_out_names(document: Document) -> Document:
    """The document with every component that is a bare name as `{type: Name}`."""
    for path, value, _ in component_paths(document.values):
        if not isinstance(value, str) or value in _OFF or path == ("trainer",):
            continue
        source = document.sources[path]
        name = Document(value, {(): replace(source, key_origin=source.origin, overridden=())})
        document.put(path, nested(("type",), name, replace(source, text="")))
    return document


def merge(below: Document, above: Document, path: KeyPath = ()) -> None:
    """Lays `above` onto `below`: mappings merge, everything else replaces. A new `type` drops `args` from below; one
    component and several by name replace each other. A mapping from indexes changes entries of a list.
    """
    old, new = below.get(path), above.get(path)
    was, now = below.sources[path], above.sources[path]
    entries = isinstance(old, list) and isinstance(new, dict) and all(isinstance(key, int) for key in new)
    if entries and new:
        for index in new:
            merge(below, above, (*path, index))
        return
    both = isinstance(old, dict) and isinstance(new, dict)
    if not both or of_another_kind(path, old, new):
        overridden = (*now.overridden, below.part(path), *was.overridden)
        below.put(path, above.part(path))
        below.sources[path] = replace(now, overridden=overridden)
        return
    retyped = "type" in old and "type" in new and old["type"] != new["type"]
    dropped = below.pop((*path, "args")) if retyped else None
    for key in new:
        if key in old:
            merge(below, above, (*path, key))
        else:
            below.put((*path, key), above.part((*path, key)))
    reported = now if now.origin.line else was  # what a section lacks is reported at the file that says most of it
    overridden = (*([dropped] if dropped else ()), *now.overridden, *was.overridden)
    below.sources[path] = replace(reported, overridden=overridden)


def remove_nulls(document: Document) -> None:
    """Removes the keys that a `null` overrides, except where null is a value."""
    for path, source in list(document.sources.items()):
        covers = source.overridden and any(below.values is not None for below in source.overridden)
        if not covers or path not in document.sources or document.get(path) is not None:
            continue
        field = field_at(path)
        in_list = any(isinstance(part, int) for part in path)
        if not in_list and not (field and nullable(field)):
            document.pop(path)


def apply_overrides(document: Document, overrides: Overrides, faults: list[Fault]) -> None:
    """Lays `key.path=value` texts, or a mapping of such paths to values, onto a document.

    Shorter paths are applied first, so that `optimizer.type=Adam` never drops an `optimizer.args.lr=0.1` beside it. The
    last of two overrides of the same path wins.
    """
    if isinstance(overrides, Mapping):
        parsed = _from_mapping(overrides, faults)
    else:
        parsed = _from_texts(overrides, document, faults)
    resolved = [(_resolved(document, keys), value) for keys, value in parsed]
    for keys, value in sorted(resolved, key=lambda override: len(override[0])):
        origin = value.sources[()].origin
        path = document.path(dotted(keys))
        fault = _obstacle(document, path, origin)
        if fault:
            faults.append(fault)
        else:
            merge(document, write_out_names(nested(path, value, Source(origin, origin))))


def _obstacle(document: Document, path: KeyPath, origin: Origin) -> Fault | None:
    """Why nothing can be set at `path`: a list has no such entry, or a scalar stands on the way."""
    for length in range(1, len(path)):
        around, there, part = path[:length], document.get(path[:length]), path[length]
        if isinstance(there, list) and not (isinstance(part, int) and part < len(there)):
            what = f"{dotted(around)} is a list of {len(there)} and has no entry {str(part)!r}"
            hint = "the first is 0" if there else ""
            return Fault(origin, dotted(path), what if there else "the list is empty", hint=hint)
        if there is not None and not isinstance(there, list | dict):
            what = f"{dotted(around)} holds {document.found(around)}, and nothing below it"
            return Fault(origin, dotted(path), what, hint="set it as a whole")
    return None


def add_plugins(document: Document, names: Iterable[str]) -> None:
    """Adds the modules of `--plugin` to `plugins`, so that the run's own config names them."""
    listed = document.values.get("plugins", [])
    if not isinstance(listed, list):
        return  # a fault of the section
    for name in dict.fromkeys(names):
        if name not in listed:
            origin = Origin(f"command line: --plugin {name}")
            if "plugins" not in document.values:
                document.put(("plugins",), from_plain([], origin, []))
            listed = document.values["plugins"]
            document.sources["plugins", len(listed)] = Source(origin, origin, f'"{name}"')
            listed.append(name)


def _from_mapping(overrides: Mapping[str, Any], faults: list[Fault]) -> Iterator[tuple[Keys, Document]]:
    for key, value in overrides.items():
        origin = Origin(f"fit(): {key}")
        keys, found = tuple(key.split(".")), list[Fault]()
        given = from_plain(value, origin, found, keys)
        if not _PATH.fullmatch(key):
            faults.append(Fault(origin, "", "not a key", expected="a path such as trainer.epochs"))
        elif found:
            faults.extend(found)
        else:
            yield keys, given


def _from_texts(overrides: Sequence[str], document: Document, faults: list[Fault]) -> Iterator[tuple[Keys, Document]]:
    flags = flags_of(document.values)
    remaining = iter(overrides)
    for text in remaining:
        rest = next(remaining, "") if _KEY.fullmatch(text) else ""  # of `trainer.epochs 3` the value
        if "=" in rest or _KEY.fullmatch(rest):
            remaining, rest = itertools.chain([rest], remaining), ""
        origin = Origin(f"command line: {text} {rest}".rstrip())
        key, equals, value = text.partition("=")
        targets = [flags[key]] if key in flags else _targets(key, document)
        key = targets[0]
        if len(targets) > 1:
            faults.append(Fault(origin, "", "has no single target", hint=f"write {listing(targets)}"))
        elif not equals or not _PATH.fullmatch(key) or "[" in key or key[0] in "+~":
            expected = "key.path=value, such as trainer.epochs=3"
            faults.append(Fault(origin, "", "not an override", expected=expected, hint=_as_override(text, rest)))
        elif not value.strip():
            faults.append(Fault(origin, key, "nothing after the '='", hint="write null to remove the key"))
        elif key == "extends":
            faults.append(Fault(origin, key, "only a file can extend another", hint="name that file with -c"))
        else:
            found: list[Fault] = []
            given = read_yaml(value, "", found)
            if comment := _comment(value):
                field, quoted = field_at(document.path(key)), command(f'{key}="{value}"')
                asked = Annotated[(field.annotation, *field.metadata, "")] if field else Any
                hint = f"write {quoted}" if fits(value, asked) else "leave it out"
                found.append(Fault(origin, "", f"YAML takes {comment} for a comment", hint=hint))
            faults.extend(replace(fault, origin=origin, key=key) for fault in found)
            if given is not None:
                sources = {path: Source(origin, origin, source.text) for path, source in given.sources.items()}
                yield tuple(key.split(".")), Document(given.values, sources)


def _as_override(text: str, value: str) -> str:
    """How to write what is no override: a config file, `a.b 3`, `a.b: 3`, `a[0]=3`, Hydra's `+a.b=3`."""
    if text.endswith((".yaml", ".yml", ".json")) and "=" not in text:
        return f"write -c {text}"
    meant = re.sub(r"\[(\w+)\]", r".\1", text.lstrip("+~"))
    if "=" not in meant:
        meant = f"{meant}={value}" if value else re.sub(r":\s*", "=", meant, count=1)
    key, equals, value = meant.partition("=")
    return f"write {command(meant)}" if equals and value and _PATH.fullmatch(key) and meant != text else ""


def _comment(value: str) -> str:
    """The comment at the end of an override's value: nobody means one there, and it would be lost without a word."""
    if " #" not in value:
        return ""
    at = yaml.scan(value, Loader=yaml.BaseLoader)
    try:
        end = max(
            token.end_mark.index for token in at if not isinstance(token, yaml.StreamEndToken | yaml.BlockEndToken)
        )
    except yaml.YAMLError:
        return ""
    return value[end:].strip() if value[end:].lstrip().startswith("#") else ""


def _targets(key: str, document: Document) -> list[str]:
    """The keys that a short flag stands for: one, or one for each of several optimizers; other keys are left as is."""
    section, _, rest = SHORT_FLAGS.get(key, key).partition(".")
    if key not in SHORT_FLAGS or (section,) not in KEYS_OF_ONE:
        return [SHORT_FLAGS.get(key, key)]
    return [dotted((*path, rest)) for path in named(document, section).values()] or [SHORT_FLAGS[key]]


def _resolved(document: Document, keys: Keys) -> Keys:
    """The path that an override's key means: pytorch-template's names are translated, a key of the project's own is
    found under `project`, and the batch size under `data.train.args` if the loader there makes its batches itself.
    """
    keys = (*ALIASES.get(keys[0], keys[:1]), *keys[1:])
    others: list[Keys] = [("project", *keys)]
    if keys == ("data", "loader", "batch_size"):
        others.append(("data", "train", "args", "batch_size"))
    return next((path for path in (keys, *others) if path in document.sources), keys)
