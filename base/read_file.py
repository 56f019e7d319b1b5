"""A config file into a node: found, decoded, and read by its suffix."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from base.errors import Fault, Origin, did_you_mean
from base.json_reader import read_json
from base.nodes import Node, dotted
from base.yaml_reader import read_yaml

LARGEST = 1_000_000
"""Bytes; shipped configs have about 2,000."""
_READERS = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_file(path: Path, faults: list[Fault], asked: Origin | None = None) -> Node | None:
    """The tree of one file, a mapping; or None and at least one fault. `asked` is where the file is named."""
    source = path.as_posix()
    origin = asked or Origin(source)
    before = f"{source}: " if asked else ""
    reader = _READERS.get(path.suffix.lower())
    try:
        if path.is_dir():
            what, hint = "this is a folder", "name a config file in it"
        elif reader is None:
            what, hint = f"{path.suffix or 'no suffix'} is no kind of config", "a config ends in .yaml, .yml or .json"
        elif path.stat().st_size > LARGEST:
            what, hint = f"{path.stat().st_size:,} bytes are too many for a config", f"at most {LARGEST:,}"
        else:
            text = _decode(path.read_bytes(), source, faults)
            return None if text is None else _read(reader, text, source, faults)
    except FileNotFoundError:
        what, hint = "no such file", _neighbours(path)
    except (OSError, ValueError) as error:
        what, hint = f"cannot be read: {getattr(error, 'strerror', None) or error}", ""
    faults.append(Fault(origin, "", before + what, hint=hint))
    return None


def _neighbours(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder.as_posix()} either"
    return did_you_mean(path.name, [other.name for other in folder.iterdir() if other.suffix in _READERS])


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
        faults.append(Fault(_end_of(before, source), "", what, found, hint=hint))
        return None
    if bad := _UNPRINTABLE.search(text):
        found = f"the character 0x{ord(bad[0]):02x}"
        what = "a binary file" if bad[0] == "\0" else "a control character"
        faults.append(Fault(_end_of(text[: bad.start()], source), "", what, found, "text"))
        return None
    return text


def _end_of(text: str, source: str) -> Origin:
    return Origin(source, text.count("\n") + 1, len(text) - text.rfind("\n"))


def _read(
    reader: Callable[[str, str, list[Fault]], Node | None], text: str, source: str, faults: list[Fault]
) -> Node | None:
    """The mapping in `text`; what is wrong inside it is told with its key."""
    found: list[Fault] = []
    node = reader(text, source, found)
    keys = {origin: dotted(place) for place, n in node.walk() for origin in (n.key_origin, n.origin)} if node else {}
    faults.extend(replace(fault, key=keys.get(fault.origin, fault.key)) for fault in found)
    if node is None or node.is_map:
        return node
    what, found_ = ("not a config", node.found()) if node.value is not None else ("the file is empty", "")
    faults.append(Fault(node.origin, "", what, found_, "keys such as name, data, model, loss, optimizer, trainer"))
    return None
