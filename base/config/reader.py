"""Reads YAML and JSON config files with the position of every value, follows `extends`, and writes YAML."""

from __future__ import annotations

import math
import os.path
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from base.config.document import (
    DEPTH,
    DIGITS,
    SIZE,
    WHOLE,
    Document,
    KeyPath,
    Source,
    Unreadable,
    dotted,
    origin_of,
    repeated,
    walk,
)
from base.errors import Fault, Origin, listing, suggest

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_JSON_AS_YAML = str.maketrans({"\t": " ", "\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""YAML allows no tab between tokens, and takes the others, which JSON allows in texts, for line breaks."""
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def scalar(text: str) -> Any:
    """The value of text without quotes in YAML 1.2: `1e-3` is a number; `yes`, `off`, `1_000` and dates are text.

    Raises ValueError for NaN, infinities, and numbers too large to be one.
    """
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text[0] in "tT"
    if _INT.fullmatch(text):
        base = 0 if text[:2] in ("0o", "0x") else 10
        if len(text.lstrip("+-0")) > DIGITS or abs(number := int(text, base)) >= WHOLE:
            raise ValueError("too large for a whole number")
        return number
    if _FLOAT.fullmatch(text):
        if math.isinf(real := float(text)):
            raise ValueError("too large for a number")
        return real
    if _NOT_FINITE.fullmatch(text):
        raise ValueError("not a finite number")
    return text


def read_yaml(text: str, source: str, faults: list[Fault]) -> Document | None:
    """The document of a YAML text; None after a fault of grammar. Repeated keys, tags and numbers out of range are
    added to `faults`, and reading goes on.
    """
    return _read(_Loader, text, source, faults)


def read_json(text: str, source: str, faults: list[Fault]) -> Document | None:
    """As `read_yaml`, of a JSON text: once its grammar is checked, JSON is YAML but for a few characters."""
    from base.config.grammar import json_fault

    if fault := json_fault(text, source):
        faults.append(fault)
        return None
    return _read(_JSONLoader, text.translate(_JSON_AS_YAML), source, faults)


def _read(kind: type[_Loader], text: str, source: str, faults: list[Fault]) -> Document | None:
    loader: Any = None
    try:
        loader = kind(text, source, faults)
        root = loader.get_single_node()
        if root is None:
            start = Origin(source, 1, 1)
            return Document(None, {(): Source(start, start)})
        return Document(loader.value(root, ()), loader.sources)
    except Unreadable as error:
        faults.append(error.fault)
    except yaml.MarkedYAMLError as error:
        from base.config.grammar import yaml_fault

        faults.append(yaml_fault(error, text, source))
    except (yaml.YAMLError, ValueError, OverflowError):  # such as "\UFFFFFFFF", which PyYAML lets chr() refuse
        origin = _origin(source, loader.get_mark()) if loader else Origin(source, 1, 1)
        faults.append(Fault(origin, "", "a character that no text can hold"))
    return None


class _Loader(yaml.BaseLoader):
    """Turns a text into PyYAML's nodes, and these into plain values and their sources. Tags are refused. Aliases are
    expanded up to a limit, and nesting has a limit below the interpreter's recursion limit.
    """

    def __init__(self, text: str, source: str, faults: list[Fault]) -> None:
        super().__init__(text)
        self.source, self.faults = source, faults
        self.sources: dict[KeyPath, Source] = {}
        self.depth = self.size = 0
        self.open: list[Any] = []

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        origin = _origin(self.source, event.start_mark)
        if getattr(event, "tag", None):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.faults.append(Fault(origin, "", "tags are not read", tag, "plain values", "remove the tag"))
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable(Fault(origin, "", f"nested more than {DEPTH} deep"))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def value(self, node: Any, path: KeyPath, key_origin: Origin | None = None) -> Any:
        origin = _origin(self.source, node.start_mark)
        self.size += 1
        if self.size > SIZE:
            raise Unreadable(Fault(origin, "", f"more than {SIZE:,} values once the aliases are written out"))
        if any(node is outer for outer in self.open):
            raise Unreadable(Fault(origin, "", "a value that holds an alias of itself"))
        if isinstance(node, yaml.ScalarNode):
            value, text = self.scalar(node, origin)
            self.sources[path] = Source(origin, key_origin or origin, text)
            return value
        self.sources[path] = Source(origin, key_origin or origin)
        self.open.append(node)
        value = (
            self.mapping(node.value, path)
            if isinstance(node, yaml.MappingNode)
            else [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        )
        self.open.pop()
        return value

    def scalar(self, node: Any, origin: Origin) -> tuple[Any, str]:
        """The value, and the text as it was written."""
        text = self.text(node, origin)
        if node.style is not None:
            return text, f'"{text}"'
        try:
            return scalar(text), text
        except ValueError as error:
            hint = "put it in quotes if text is meant"
            expected = "less than 2**63" if "whole" in str(error) else "a finite number"
            self.faults.append(Fault(origin, "", str(error), text[:40], expected, hint))
            return None, node.value

    def text(self, node: Any, origin: Origin) -> str:
        """The text of a scalar, with escaped surrogate pairs joined."""
        try:
            return str(node.value).encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.faults.append(Fault(origin, "", "half of a surrogate pair is no character"))
            return ""

    def mapping(self, pairs: list[tuple[Any, Any]], path: KeyPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        rest_of_tuple = False
        for key_node, value_node in pairs:
            origin = _origin(self.source, key_node.start_mark)
            if rest_of_tuple:
                rest_of_tuple = not str(key_node.value).endswith(")")
                continue
            if opened := _opened_tuple(value_node):
                hint = f"write a list: [{opened}, ...]"
                at = _origin(self.source, value_node.start_mark)
                self.faults.append(Fault(at, "", "a tuple of Python", value_node.value + ", ...", hint=hint))
                rest_of_tuple = True
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(origin, "", "a list or mapping as a key", expected="text"))
                continue
            key = self.text(key_node, origin)
            if key == "<<" and key_node.style is None:
                hint = "write the keys out, or put them in a file named by extends"
                self.faults.append(Fault(origin, key, "merge keys are not read", hint=hint))
            else:
                if key in items:
                    self.faults.append(repeated(key, origin, self.sources[*path, key]))
                    for inner, _ in walk(items[key], (*path, key)):
                        del self.sources[inner]
                items[key] = self.value(value_node, (*path, key), origin)
        return items


class _JSONLoader(_Loader):
    def __init__(self, text: str, source: str, faults: list[Fault]) -> None:
        super().__init__(text, source, faults)
        self.json = text

    def stale_possible_simple_keys(self) -> None:
        """Keys are texts in quotes. YAML's limits on them (one line, 1,024 characters) are not JSON's."""
        keys = self.possible_simple_keys.items()
        self.possible_simple_keys = {level: key for level, key in keys if self.json[key.index] == '"'}

    def scalar(self, node: Any, origin: Origin) -> tuple[Any, str]:
        value, text = super().scalar(node, origin)
        if text in ("NaN", "Infinity", "-Infinity"):  # Python's parser takes these
            hint = "put it in quotes if text is meant"
            self.faults.append(Fault(origin, "", "not a finite number", text, "a finite number", hint))
        return value, text


def _opened_tuple(node: Any) -> str:
    """The first part of a Python tuple, which a comma cuts off inside { }: `0.9` of `(0.9`; else empty."""
    plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return node.value[1:].strip() if plain and node.value.startswith("(") and ")" not in node.value else ""


def _origin(source: str, mark: Any) -> Origin:
    return Origin(source, mark.line + 1, mark.column + 1)


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.2 would read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(scalar(text), str)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def to_yaml(values: Any, inline: bool = False) -> str:
    """The text that `read_yaml` reads as `values`; `inline` writes innermost lists as `[1, 2]`."""
    style = None if inline else False
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=style)


def flow(values: Any) -> str:
    """`{a: 1, b: [2, 3]}`, in one line; tuples as lists."""
    plain = [list(v) if isinstance(v, tuple) else v for v in values] if isinstance(values, list | tuple) else values
    if isinstance(plain, dict):
        plain = {key: list(v) if isinstance(v, tuple) else v for key, v in plain.items()}
    text = yaml.dump(plain, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=True)
    return text.removesuffix("...\n").strip()


LARGEST = 1_000_000
"""Bytes; shipped configs have about 2,000."""
_SUFFIXES = (".yaml", ".yml", ".json")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


SHORT_FLAGS = {
    "--lr": "optimizer.args.lr",
    "--batch-size": "data.loader.batch_size",
    "--epochs": "trainer.epochs",
    "--device": "device",
    "--seed": "seed",
    "--name": "name",
}
"""Flags for everyday keys: `--lr=0.1` is `optimizer.args.lr=0.1`."""


def read_files(path: Path, faults: list[Fault]) -> list[Document] | None:
    """A config file, then the files that it extends, base last; None if one could not be read."""
    files: list[Document] = []
    seen: list[Path] = []
    asked: Origin | None = None
    while True:
        file = read_file(path, faults, asked)
        if file is None:
            return None
        if asked is not None and path.resolve() in seen:
            circle = " -> ".join(other.name for other in [*seen[seen.index(path.resolve()) :], path])
            faults.append(Fault(asked, "extends", "files extend each other in a circle", circle))
            return None
        seen.append(path.resolve())
        files.append(file)
        file.pop(("$schema",))  # for editors
        base = file.pop(("extends",))
        if base is None or base.values is None:
            return files
        asked = base.sources[()].origin
        if not isinstance(base.values, str):
            faults.append(Fault(asked, "extends", "does not fit", base.found(()), "one file, such as base.yaml"))
            return None
        path = Path(os.path.normpath(path.parent / base.values))


def read_file(path: Path, faults: list[Fault], asked: Origin | None = None) -> Document | None:
    """The mapping in one file; None after at least one fault. `asked` is where another file extends it.

    A fault of a single value gets its key.
    """
    source = path.as_posix()
    try:
        obstacle = _obstacle(path)
        data = b"" if obstacle else path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        obstacle = ("cannot be read", str(getattr(error, "strerror", None) or error), "")
    if obstacle:
        what, found, expected = obstacle
        where = (asked, "extends", f"{source}: {what}") if asked else (Origin(source), "", what)
        faults.append(Fault(*where, found, expected))
        return None
    text = _decode(data, source, faults)
    if text is None:
        return None
    wrong: list[Fault] = []
    file = (read_json if path.suffix.lower() == ".json" else read_yaml)(text, source, wrong)
    written = file.sources.items() if file else ()
    keys = {at: dotted(path) for path, place in written for at in (place.key_origin, place.origin)}
    faults.extend(replace(fault, key=keys.get(fault.origin, fault.key)) for fault in wrong)
    if file is None or isinstance(file.values, dict):
        return file
    what, found = ("not a config", file.found(())) if file.values is not None else ("the file is empty", "")
    expected = "keys such as name, data, model, loss, optimizer, trainer"
    faults.append(Fault(file.sources[()].origin, "", what, found, expected))
    return None


def _obstacle(path: Path) -> tuple[str, str, str] | None:
    """Why the file cannot be opened: what, found, expected."""
    if not path.exists():
        return ("no such file", "", _neighbour(path))
    if path.is_dir():
        return ("a folder", "", "a config file")
    if path.suffix.lower() not in _SUFFIXES:
        return ("not a config", path.suffix or "no suffix", listing(_SUFFIXES))
    if (size := path.stat().st_size) > LARGEST:
        return ("too large for a config", f"{size:,} bytes", f"{LARGEST:,} at most")
    return None


def _neighbour(path: Path) -> str:
    """The file that may have been meant."""
    folder = path.parent
    if not folder.is_dir():
        return f"a file; there is no folder {folder.as_posix()}"
    nearest = suggest(path.name, [other.name for other in folder.iterdir() if other.suffix in _SUFFIXES])
    return f"a file, such as {(folder / nearest).as_posix()}" if nearest else ""


def _decode(data: bytes, source: str, faults: list[Fault]) -> str | None:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.append(Fault(Origin(source, 1, 1), "", "this is UTF-16 text", expected="UTF-8", hint="save it as UTF-8"))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        found = f"the byte 0x{data[error.start]:02x}"
        what, hint = ("a binary file", "name a text file") if b"\0" in data else ("not UTF-8 text", "save it as UTF-8")
        faults.append(Fault(origin_of(source, before, len(before)), "", what, found, hint=hint))
        return None
    if bad := _UNPRINTABLE.search(text):
        found = f"the character 0x{ord(bad[0]):02x}"
        what = "a binary file" if bad[0] == "\0" else "a control character"
        faults.append(Fault(origin_of(source, text, bad.start()), "", what, found, "text"))
        return None
    return text


def flags_of(values: Any) -> dict[str, str]:
    """The flags of a config's `options`, and the dotted keys that they set; invalid entries are left out."""
    options = values.get("options") if isinstance(values, dict) else None
    flags: dict[str, str] = {}
    for option in options.values() if isinstance(options, dict) else ():
        target, listed = (option.get("target"), option.get("flags")) if isinstance(option, dict) else (None, None)
        if isinstance(target, str) and isinstance(listed, list):
            flags |= {str(flag): target.replace(";", ".") for flag in listed}
    return flags


def flags_of_file(path: str) -> dict[str, str]:
    """`flags_of` a config file or a run; empty for a file that cannot be read, which is reported elsewhere."""
    place = Path(path)
    run = [place / "config.yaml", place.parent / "config.yaml", place.parent.parent / "config.yaml"]
    found = place if place.is_file() and place.suffix else next((path for path in run if path.is_file()), place)
    options: dict[str, Any] = {}
    for file in reversed(read_files(found, []) or []):
        own = file.values.get("options")
        for name, option in own.items() if isinstance(own, dict) else ():
            both = isinstance(option, dict) and isinstance(options.get(name), dict)
            options[name] = {**options[name], **option} if both else option
    return flags_of({"options": options})
