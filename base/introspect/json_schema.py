"""The JSON Schema of every key and every registered name, for editors and checks.

Required keys are required only in files without `extends`; a file with `extends` may omit them or set them to null.
"""

from __future__ import annotations

import importlib.metadata
import json
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator
from pydantic.fields import FieldInfo

from base.config.document import KeyPath
from base.config.fields import Component, Empty, Section, seconds
from base.config.keys import Settings
from base.config.lookup import KEYS_OF_ONE, nullable, registries_at
from base.errors import writing
from base.introspect.annotation_schema import OPEN, REFERENCE, annotation_schema, limited, limits_schema
from base.introspect.catalogue import Argument, Entry, entry, names_by_source, plain
from base.registry import REGISTRIES, BrokenFile

Schema = dict[str, Any]
USERS = "saved/schema.json"
_LIBRARIES = ("torch", "torchvision", "torchmetrics")
_TIME = r"^((\d+d)? ?(\d+h)? ?(\d+m)? ?(\d+s)?|\d+:[0-5]\d:[0-5]\d|off)$"


def write_schema(path: str = "") -> str:
    """Writes the schema with the user's own names; returns the message for the user."""
    file = Path(path or USERS)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(schema_text(), encoding="utf-8")
    return f"written: {file}; the first line of a config in configs/ that names it:\n" + header(f"../{file.as_posix()}")


def header(path: str) -> str:
    """The comment that leads an editor to the schema at `path`, which is relative to the config."""
    return f"# yaml-language-server: $schema={path}"


def schema_text(users: bool = True) -> str:
    """The schema as JSON, one definition per line. `users=False` leaves out the names of the user's own files."""
    schema = json_schema(users)
    definitions = ",\n".join(f"  {_line(name)}: {_line(value)}" for name, value in schema.pop("definitions").items())
    rest = "".join(f" {_line(name)}: {_line(value)},\n" for name, value in schema.items())
    return f'{{\n{rest} "definitions": {{\n{definitions}\n }}\n}}\n'


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def json_schema(users: bool = True) -> Schema:
    versions = ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in _LIBRARIES)
    maker = _Maker(users)
    root = maker.section(Settings, ())
    root["properties"] |= {
        "extends": {"type": "string", "description": "the config that this file is based on"},
        "$schema": {"type": "string", "description": "where an editor finds this schema"},
    }
    whole = maker.whole(Settings, ())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": f"A config of torch-atelier; made by `python train.py --schema`, with {versions}",
        **root,
        "if": {"not": {"required": ["extends"]}},
        "then": whole,
        "definitions": {"open": OPEN, "reference": REFERENCE, **maker.definitions},
    }


class _Maker:
    def __init__(self, users: bool) -> None:
        self.users = users
        self.definitions: dict[str, Schema] = {}
        self.entries: dict[str, list[Entry]] = {}

    def section(self, section: type[Section], path: KeyPath) -> Schema:
        """An object with the keys of a section; the `args` of a trainer depend on its type."""
        properties = {name: self.key(field, (*path, name)) for name, field in section.model_fields.items()}
        schema: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
        if symbols := registries_at(path):
            properties["type"] = {"$ref": f"#/definitions/{self.names(symbols)}"}
            schema["allOf"] = [{"$ref": f"#/definitions/{self.arguments(symbol)}"} for symbol in symbols]
        return schema

    def key(self, field: FieldInfo, path: KeyPath) -> Schema:
        kind: Any = field.annotation
        if field.metadata:
            kind = typing.Annotated[(kind, *field.metadata)]
        options = self.value(kind, path)
        if any(isinstance(item, BeforeValidator) and item.func is seconds for item in field.metadata):
            options = [*options, {"type": "string", "pattern": _TIME}, {"const": False}]
        elif any(isinstance(item, BeforeValidator) and (nullable(field) or item == Empty) for item in field.metadata):
            may_be_false = any(option.get("type") == "boolean" for option in options)
            options = [*options, {"enum": ["off"] if may_be_false else ["off", False]}]
        schema = _any_of([*options, {"$ref": "#/definitions/reference"}, {"type": "null"}])
        if field.description:
            schema = {"description": field.description, **schema}
        if not field.is_required() and isinstance(field.default, bool | int | float | str):
            schema["default"] = field.default
        return schema

    def value(self, kind: Any, path: KeyPath) -> list[Schema]:
        """The alternatives that an annotation of a section allows."""
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if isinstance(kind, type) and issubclass(kind, Component):
            return self.component(kind, path)
        if isinstance(kind, type) and issubclass(kind, Section):
            return [self.section(kind, path)]
        if origin is typing.Annotated:
            limits = limits_schema(list(inner[1:]))
            return [limited(option, limits) for option in self.value(inner[0], path)]
        if origin is tuple:
            return [{"type": "array", "items": _any_of(self.value(inner[0], (*path, 0)))}]
        if origin is dict and inner[1] is not Any:
            named = {"type": "object", "additionalProperties": _any_of(self.value(inner[1], (*path, "x")))}
            no_names = "|".join(f"{key}$" for key in KEYS_OF_ONE.get(path, ("",)))
            return [named | {"propertyNames": {"pattern": f"^(?!{no_names})[A-Za-z][A-Za-z0-9_]*$"}}]
        if origin in (typing.Union, type(int | str)):
            return [option for one in inner if one is not type(None) for option in self.value(one, path)]
        return [annotation_schema(kind)]

    def component(self, kind: type[Component], path: KeyPath) -> list[Schema]:
        symbols = registries_at(path)
        name = "/".join((*symbols, kind.__name__.removesuffix("Config"))).lower().replace("/", "_")
        if name not in self.definitions:
            self.definitions[name] = {}  # reserves its position before the definitions that it needs
            self.definitions[name] |= self.section(kind, path)
        return [{"$ref": f"#/definitions/{self.names(symbols)}"}, {"$ref": f"#/definitions/{name}"}]

    def names(self, symbols: tuple[str, ...]) -> str:
        """The definition that lists the names of some registries."""
        name = "_or_".join(symbol.lower() for symbol in symbols)
        if name not in self.definitions:
            entries = [one for symbol in symbols for one in self._entries(symbol)]
            kinds = " or ".join(REGISTRIES[symbol].kind for symbol in symbols)
            about = [f"{one.about or one.name} ({one.place.partition(':')[0]})" for one in entries]
            self.definitions[name] = {
                "description": f"the name of {'an' if kinds[0] == 'o' else 'a'} {kinds}",
                "type": "string",
                "enum": [one.name for one in entries] or [f"<no {kinds} is registered>"],
                "enumDescriptions": about,
            }
        return name

    def arguments(self, symbol: str) -> str:
        """The definition that checks `args` by `type`."""
        name = f"{symbol.lower()}_arguments"
        if name not in self.definitions:
            by_type = [
                {
                    "if": {"properties": {"type": {"const": one.name}}, "required": ["type"]},
                    "then": {"properties": {"args": {"$ref": f"#/definitions/{symbol.lower()}.{one.name}"}}},
                }
                for one in self._entries(symbol)
            ]
            self.definitions[name] = {"allOf": by_type} if by_type else {}
            for one in self._entries(symbol):
                self.definitions[f"{symbol.lower()}.{one.name}"] = _arguments(one)
        return name

    def _entries(self, symbol: str) -> list[Entry]:
        if symbol not in self.entries:
            registry, found = REGISTRIES[symbol], []
            for name in sorted(n for names in names_by_source(registry).values() for n in names):
                if self.users or not registry.is_users(name):
                    try:
                        found.append(entry(registry, name))
                    except BrokenFile:
                        continue
            self.entries[symbol] = found
        return self.entries[symbol]

    def whole(self, section: type[Section], path: KeyPath) -> Schema:
        """The rule for a config without `extends`: all required keys are present, and none of them is null."""
        needed = [name for name, field in section.model_fields.items() if field.is_required()]
        inner = {name: self._whole_key(field, (*path, name)) for name, field in section.model_fields.items()}
        schema: Schema = {"type": "object", "required": needed}
        schema["properties"] = {name: asked for name, asked in inner.items() if asked}
        if path == ("trainer",):
            usual = {"properties": {"args": {"$ref": f"#/definitions/trainers.{section.model_fields['type'].default}"}}}
            schema |= {"if": {"not": {"required": ["type"]}}, "then": usual}
        return schema

    def _whole_key(self, field: FieldInfo, path: KeyPath) -> Schema:
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section) and not issubclass(kind, Component):
            return self.whole(kind, path)
        asked = [] if nullable(field) else [_NOT_NULL]
        asked += self._needs(registries_at(path))
        entries = list(self._needs(registries_at((*path, 0))))
        if entries:
            asked.append({"items": {"allOf": entries}})
        return {"allOf": asked} if asked else {}

    def _needs(self, symbols: tuple[str, ...]) -> Iterator[Schema]:
        """Rules for the required arguments of each component."""
        for symbol in symbols:
            name = f"{symbol.lower()}_needs"
            if name not in self.definitions:
                self.definitions[name] = _needs(self._entries(symbol))
            yield {"$ref": f"#/definitions/{name}"}


_NOT_NULL: Schema = {"type": ["object", "array", "string", "number", "boolean"]}


def _needs(entries: list[Entry]) -> Schema:
    rules: list[Schema] = [{"if": {"type": "object"}, "then": {"anyOf": [{"required": ["type"]}, _NAMED_SETS]}}]
    needy = {one.name: [a.name for a in one.arguments if a.needed] for one in entries}
    needy = {name: arguments for name, arguments in needy.items() if arguments}
    if needy:
        rules.append({"if": {"enum": list(needy)}, "then": {"type": "object"}})  # the bare name is not enough
    for name, arguments in needy.items():
        asked = {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}}
        args = {"type": "object", "required": arguments}
        rules.append({**asked, "then": {"required": ["args"], "properties": {"args": args}}})
    return {"allOf": rules}


_NAMED_SETS: Schema = {"not": {"anyOf": [{"required": ["args"]}, {"maxProperties": 0}]}}


def _arguments(one: Entry) -> Schema:
    schema: Schema = {
        "description": one.about or one.name,
        "type": ["object", "null"],
        "additionalProperties": one.takes_any,
        "properties": {argument.name: _argument(argument) for argument in one.arguments},
    }
    return schema


def _argument(argument: Argument) -> Schema:
    schema = annotation_schema(argument.annotation, in_args=True)
    try:
        default = plain(argument.default)
    except ValueError:
        default = None
    if default is not None:
        schema["default"] = default
    return {"description": argument.about, **schema} if argument.about else schema


def _any_of(options: list[Schema]) -> Schema:
    """One schema for several alternatives; simple types are merged."""
    simple = [option for option in options if set(option) == {"type"} and isinstance(option["type"], str)]
    rest = [option for option in options if option not in simple]
    types = list(dict.fromkeys(option["type"] for option in simple))
    if len(rest) == 1 and isinstance(rest[0].get("type"), str) and set(types) <= {"null"} and "enum" not in rest[0]:
        return {**rest[0], "type": [rest[0]["type"], *types]} if types else rest[0]
    joined = [{"type": types[0] if len(types) == 1 else types}] if types else []
    return {"anyOf": [*rest, *joined]} if len(rest) + len(joined) > 1 else [*rest, *joined][0]
