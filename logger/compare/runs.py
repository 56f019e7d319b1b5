"""Reads recorded runs quickly, without torch or pydantic.

The reader of `base.config` knows the position of each value, and takes thirty times as long.

Nothing in the folder is trusted: no link is followed, nothing large is read. What cannot be read becomes a problem of
the run, not an error.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from base.config.document import DEPTH, SIZE
from base.config.reader import scalar
from base.runs.lock import LOCK
from base.runs.run_dir import CONFIG, METRICS, NOTES, Note, RunDir, parse_notes, tags_of
from logger.jsonl import CLOCK, PLACE, belongs_to_steps, parse_lines

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def flat_config(text: bytes) -> dict[str, Any]:
    """`{"optimizer.args.lr": 0.1, "model.args.hidden": [16, 8], "metrics.0.type": "accuracy"}`: scalars and lists of
    scalars by dotted key, read as YAML 1.2.

    ValueError for a text that no run has written: bad syntax, tags, aliases, too many values, nested too deep.
    """
    try:
        value = _value(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return dict(_leaves(value, ""))


def _value(text: bytes) -> Any:
    """Built from parser events without recursion, since PyYAML's composer in C crashes on deep nesting."""
    open_: list[list[Any]] = [[]]
    kinds: list[type] = [list]
    event: Any
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if count > SIZE or len(open_) > DEPTH:
            raise ValueError("more values than a config can hold, or nested too deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise ValueError(f"line {event.start_mark.line + 1}: an alias or a tag")
        if isinstance(event, yaml.ScalarEvent):
            open_[-1].append(scalar(event.value) if event.implicit[0] else event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append([])
            kinds.append(dict if isinstance(event, yaml.MappingStartEvent) else list)
        elif isinstance(event, yaml.CollectionEndEvent):
            items = open_.pop()
            open_[-1].append(_mapping(items) if kinds.pop() is dict else items)
    return open_[0][0] if open_[0] else None


def _mapping(items: list[Any]) -> dict[str, Any]:
    return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    inner = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
    if isinstance(value, dict) or any(isinstance(item, dict | list) for item in inner.values()):
        for part, child in inner.items():
            yield from _leaves(child, f"{key}.{part}" if key else str(part))
    else:
        yield key, value


STATES = {"early_stop": "stopped early", "max_time": "out of time", "signal": "stopped", "not_finite": "not finite"}
"""How tables name the end of a run, where metrics.jsonl has another word."""
WHOLE = ("finished", "stopped early", "out of time")
"""States of a run that went as far as its config asks."""
LARGEST, LARGEST_CONFIG = 64 << 20, 1 << 20
MOST_CLASSES = 200


class Unreadable(Exception):
    """A file exists and is not read; the text says why."""


@dataclass
class RecordedRun:
    """A run as recorded in its folder. Numbers that are not finite are None in `rows`, as in JSON."""

    path: Path
    state: str = "killed"
    config: dict[str, Any] = field(default_factory=dict)
    """By dotted key, see `flat_config`."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """The rows of metrics.jsonl: epochs, evaluations inside epochs, and the test at the end."""
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The metrics.json of test.py by dataset."""
    notes: list[Note] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What could not be read, one line each."""

    @property
    def label(self) -> str:
        """`fashion_mnist/20261120-164203`"""
        return f"{self.path.parent.name}/{self.path.name}"

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return sum(row.get("phase") == "epoch" for row in self.rows)

    @property
    def planned(self) -> int | None:
        epochs = self.config.get("trainer.epochs")
        return epochs if isinstance(epochs, int) else None

    @property
    def seconds(self) -> float:
        """The time of its epochs, evaluation included."""
        return sum(row["seconds"] or 0.0 for row in self.rows if isinstance(row.get("seconds"), float))

    @property
    def note(self) -> str:
        return "; ".join(note.text for note in self.notes if note.text)

    @property
    def tags(self) -> list[str]:
        return tags_of(self.notes)

    @property
    def monitor(self) -> tuple[str, str]:
        """`("max", "val_accuracy")`; two empty strings if nothing is monitored."""
        mode, _, name = str(self.config.get("trainer.monitor") or "").partition(" ")
        return (mode, name) if name else ("", "")

    @cached_property
    def curves(self) -> dict[str, list[tuple[int, float | None]]]:
        """The row numbers and values of each metric. Results of test.py come after all rows."""
        found: dict[str, list[tuple[int, float | None]]] = {}
        for number, row in enumerate(self.rows):
            for name, value in row.items():
                if is_metric(name) and (value is None or isinstance(value, float)):
                    found.setdefault(name, []).append((number, value))
        for data, scores in self.tests.items():
            prefix = "test" if data == "test" else f"test_{data}"
            for name, value in scores.items():
                if is_metric(name) and name != "save" and _is_number(value):
                    found[f"{prefix}_{name}"] = [(len(self.rows), number_in(value))]
        return found

    @cached_property
    def places(self) -> list[float]:
        """The position of each row in epochs: 1.5 is in the middle of the second."""
        ends = [row for row in self.rows if row.get("phase") == "epoch" and row.get("epoch")]
        steps = ends[0]["step"] / ends[0]["epoch"] if ends else 1.0
        return [row["epoch"] if row in ends else row["step"] / (steps or 1.0) for row in self.rows]

    @cached_property
    def environment(self) -> dict[str, Any]:
        """environment.json; empty if it cannot be read."""
        return _json(self._read("environment.json"))

    def confusion(self, data: str) -> tuple[list[str], list[list[int]]] | None:
        """The classes and counts (rows are true classes, columns predicted ones) of a test; None if it has none."""
        classes, counts = (self.tests[data].get(key) for key in ("classes", "confusion"))
        if not isinstance(classes, list) or not 0 < len(classes) <= MOST_CLASSES:
            return None
        if not isinstance(counts, list) or [_is_row(row, len(classes)) for row in counts] != [True] * len(classes):
            return None
        return [str(name) for name in classes], counts

    def _read(self, name: str, most: int = LARGEST) -> bytes | None:
        """A file of the run; None if it is missing, or unreadable, which becomes a problem."""
        try:
            return contents(self.path, name, most)
        except Unreadable as error:
            self.problems.append(f"{name}: {error}")
            return None


def read_run(path: Path) -> RecordedRun:
    """The run in this folder, in whatever state. Files that a table does not need are read on demand."""
    run = RecordedRun(path)
    if (config := run._read(CONFIG, LARGEST_CONFIG)) is not None:
        try:
            run.config = flat_config(config)
        except (ValueError, RecursionError) as error:
            run.problems.append(f"{CONFIG}: {error}")
    elif not run.problems:
        run.problems.append(f"{CONFIG}: missing")
    end = _take_lines(run, run._read(METRICS))
    running = run._read(LOCK, 1 << 16) is not None and RunDir(path).is_locked()
    run.state = "running" if running else STATES.get(end, end) or "killed"
    run.notes = parse_notes(run._read(NOTES) or b"")
    for name in _folders_in(path, "test"):
        run.tests[name] = _json(run._read(f"test/{name}/metrics.json"))
    return run


def _take_lines(run: RecordedRun, data: bytes | None) -> str:
    """Fills in the rows and returns why the run ended; empty if its last line does not say so."""
    whole = (data or b"").rpartition(b"\n")[0]  # a last line without a newline was not written to its end
    lines = list(parse_lines(whole))
    if damaged := sum(bool(line.strip()) for line in whole.splitlines()) - len(lines):
        run.problems.append(f"{METRICS}: {damaged} damaged line{'s' * (damaged > 1)}")
    run.rows = [row for line in lines if "step" in (row := _plain(line))]
    end = lines[-1].get("end") if lines else None
    return end if isinstance(end, str) else ""


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """Epoch, step, phase and numbers of a row, the latter as floats, None where they are not finite."""
    known = {name: row[name] for name in ("epoch", "step") if _is_count(row.get(name))}
    if isinstance(row.get("phase"), str):
        known["phase"] = row["phase"]
    return known | {name: number_in(value) for name, value in row.items() if name not in PLACE and _is_number(value)}


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def number_in(value: Any) -> float | None:
    """A float; None for anything but a finite number."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def is_metric(name: str) -> bool:
    """Whether a name in a row is a result, and not a position, a time or a value of single steps."""
    return name not in (*PLACE, *CLOCK) and not belongs_to_steps(name)


def contents(run: Path, name: str, most: int = LARGEST) -> bytes | None:
    """A file of a run; None if it is missing. `Unreadable` if a link leads to it, if it is not a plain file, or
    if it holds more than `most` bytes."""
    path = run
    try:
        for part in name.split("/"):
            path /= part
            mode = os.lstat(path)
            if stat.S_ISLNK(mode.st_mode):
                raise Unreadable("a link, which is not followed")
        if not stat.S_ISREG(mode.st_mode):
            raise Unreadable("not a plain file")
        if mode.st_size > most:
            raise Unreadable(f"not read: it holds {mode.st_size:,} bytes")
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unreadable(error.strerror or str(error)) from None


def _folders_in(run: Path, name: str) -> list[str]:
    folder = run / name
    try:
        if folder.is_symlink():
            return []
        return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _json(data: bytes | None) -> dict[str, Any]:
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_row(row: Any, length: int) -> bool:
    return isinstance(row, list) and len(row) == length and all(map(_is_count, row))
