"""A config file into a node: found, decoded, and read by its suffix."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from base.config.json_reader import read_json
from base.config.nodes import Node, dotted
from base.config.yaml_reader import read_yaml
from base.errors import Fault, Origin, listing, suggest

LARGEST = 1_000_000
"""Bytes; shipped configs have about 2,000."""
_READERS = {".yaml": read_yaml, ".yml": read_yaml, ".json": read_json}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_file(path: Path, faults: list[Fault], asked: Origin | None = None) -> Node | None:
    """The tree of one file, a mapping; or None, and a fault at least. `asked` is where a file names it."""
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
    return None if text is None else _read(_READERS[path.suffix.lower()], text, source, faults)


def _obstacle(path: Path) -> tuple[str, str, str] | None:
    """Why the file is not even opened: what, found, expected."""
    if not path.exists():
        return ("no such file", "", _neighbour(path))
    if path.is_dir():
        return ("a folder", "", "a config file")
    if path.suffix.lower() not in _READERS:
        return ("not a config", path.suffix or "no suffix", listing(_READERS))
    if (size := path.stat().st_size) > LARGEST:
        return ("too large for a config", f"{size:,} bytes", f"{LARGEST:,} at most")
    return None


def _neighbour(path: Path) -> str:
    """The file that may have been meant."""
    folder = path.parent
    if not folder.is_dir():
        return f"a file; there is no folder {folder.as_posix()}"
    nearest = suggest(path.name, [other.name for other in folder.iterdir() if other.suffix in _READERS])
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
