"""Reads config files: finds, decodes and parses them, follows `extends`, and lists the flags of their `options`."""

from __future__ import annotations

import os.path
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from base.config.document import Document, dotted
from base.config.yaml_format import read_yaml
from base.errors import Fault, Origin, listing, suggest

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
    """A config file and those that it extends, the last being the base of all; None if one could not be read."""
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
    """One file, a mapping; or None, and a fault at least. `asked` is where another file names it."""
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
    return None if text is None else _parse(text, path, faults)


def _parse(text: str, path: Path, faults: list[Fault]) -> Document | None:
    """The mapping in `text`; the faults of single values get their keys."""
    read, wrong = read_yaml, list[Fault]()
    if path.suffix.lower() == ".json":
        from base.config.json_reader import read_json as read
    file = read(text, path.as_posix(), wrong)
    written = file.sources.items() if file else ()
    keys = {at: dotted(path) for path, source in written for at in (source.key_origin, source.origin)}
    faults.extend(replace(fault, key=keys.get(fault.origin, fault.key)) for fault in wrong)
    if file is None or isinstance(file.values, dict):
        return file
    what, found = ("not a config", file.found(())) if file.values is not None else ("the file is empty", "")
    expected = "keys such as name, data, model, loss, optimizer, trainer"
    faults.append(Fault(file.sources[()].origin, "", what, found, expected))
    return None


def _obstacle(path: Path) -> tuple[str, str, str] | None:
    """Why the file is not even opened: what, found, expected."""
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


def flags_of(values: Any) -> dict[str, str]:
    """The flags of a config's `options`, and the dotted keys that they set; entries that are none are left out."""
    options = values.get("options") if isinstance(values, dict) else None
    flags: dict[str, str] = {}
    for option in options.values() if isinstance(options, dict) else ():
        target, listed = (option.get("target"), option.get("flags")) if isinstance(option, dict) else (None, None)
        if isinstance(target, str) and isinstance(listed, list):
            flags |= {str(flag): target.replace(";", ".") for flag in listed}
    return flags


def flags_of_file(path: str) -> dict[str, str]:
    """`flags_of` a config file, or a run's; none of a file that cannot be read, which is reported elsewhere."""
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
