"""The directory of a run: creating it exclusively, finding it for a resume, and its notes and tags (notes.jsonl).

{"time": "2026-11-20 16:42:03", "note": "a smaller rate, after the loss of the last one rose", "tags": ["rates"]}
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from base.errors import CheckpointError, ConfigError, Fault, Origin, WriteError, writing
from base.runs import lock
from utils import files

CHECKPOINTS, CONFIG, METRICS = "checkpoints", "config.yaml", "metrics.jsonl"
BEST, LAST = "best", "last"
ASKED = "asked.yaml"
"""The config of a run before the program's decisions were filled in."""
SPLIT = "split.safetensors"
SYNTHETIC = "-synthetic"  # the end of the name of a run on SyntheticFashion

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAMP = re.compile(r"(\d{8}-\d{6})(?:-(\d+))?")
_SAVE = re.compile(r"(\d{6,})-step-\d{8,}", re.ASCII)


@dataclass(frozen=True)
class RunDir:
    """`saved/<name>/<YYYYmmdd-HHMMSS>[-n]/`; `create` makes a new one, `open` uses an existing one."""

    path: Path

    @classmethod
    def create(cls, save_dir: str | Path, name: str) -> RunDir:
        """A new folder below `save_dir` that no other start shares and that sorts after all runs of that name."""
        if not _NAME.fullmatch(name):
            expected = "letters, digits, '.', '_' and '-', a letter or digit first"
            raise ConfigError([Fault(Origin("new run"), "name", "not a name for a folder", repr(name), expected)])
        parent = Path(save_dir) / name
        try:
            parent.mkdir(parents=True, exist_ok=True)
            now = datetime.now().strftime("%Y%m%d-%H%M%S")
            stamp, count = max([(now, 0), *map(_order, _runs(parent))])  # a clock set back must not change the order
            while True:
                count += 1
                path = parent / (stamp if count == 1 else f"{stamp}-{count}")
                try:
                    files.disk.mkdir(path)
                    break
                except FileExistsError:
                    continue
            files.disk.sync_folder(parent)
            files.disk.sync_folder(parent.parent)
        except OSError as error:
            raise WriteError(f"{parent}: the run's folder cannot be made: {error.strerror}") from error
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunDir:
        """CheckpointError if there is no run at `path`."""
        path = Path(path)
        if not _is_run(path):
            raise CheckpointError(_no_run(path))
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    def lock(self) -> AbstractContextManager[None]:
        """Locks the run for this process while it trains; CheckpointError names the process that holds it."""
        return lock.held(self.path)

    def is_locked(self) -> bool:
        """Whether some process, this one included, trains in this folder now."""
        return lock.is_held(self.path)

    def state(self) -> str:
        """`running`; or why it ended, from metrics.jsonl (`finished`, `early_stop` ...); `killed` if no reason was
        recorded."""
        return "running" if self.is_locked() else self._end() or "killed"

    def _end(self) -> str | None:
        try:
            text = (self.path / METRICS).read_bytes()
            row = json.loads(text[: text.rfind(b"\n") + 1].splitlines()[-1])  # after the last newline is a partial line
        except (OSError, ValueError, IndexError, RecursionError):
            return None
        end = row.get("end") if isinstance(row, dict) else None
        return end if isinstance(end, str) else None


def save_name(number: int, step: int) -> str:
    """The name of a checkpoint's folder; `number` counts the saves of a run."""
    return f"{number:06d}-step-{step:08d}"


def save_number(name: str) -> int:
    """The number in a checkpoint's name; -1 for any other name."""
    match = _SAVE.fullmatch(name)
    return int(match[1]) if match else -1


def saves_in(folder: Path) -> list[str]:
    """The names of the checkpoints in a folder, oldest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((name for name in names if save_number(name) >= 0), key=save_number)


def resolve_resume(path: str | Path) -> tuple[RunDir, str | None]:
    """(run, checkpoint name) of a path that a user gives to `-r`: a run, `RUN/best`, `RUN/last`, or a checkpoint.

    The name is None for a run, which means its newest good checkpoint. Whether the checkpoint exists is left to the
    checkpoint store. CheckpointError for any other path, or if the run's folder contains a link: the run may come from
    a stranger, and the link could lead anywhere.
    """
    folder, name = _named(path)
    for parent, folders, names in os.walk(folder.path):
        for entry in (Path(parent) / name for name in (*folders, *names)):
            if entry.is_symlink():
                raise CheckpointError(f"{entry} is a link: a run must not contain links")
    return folder, name


def _named(path: str | Path) -> tuple[RunDir, str | None]:
    path = Path(path)
    if path.name == CHECKPOINTS and _is_run(path.parent):
        return RunDir(path.parent), None
    run = path.parent.parent if path.parent.name == CHECKPOINTS else path.parent
    if (path.name in (BEST, LAST) or save_number(path.name) >= 0) and _is_run(run):
        return RunDir(run), path.name
    return RunDir.open(path), None


def newest_run(save_dir: str | Path, name: str) -> RunDir | None:
    """The newest run of a config's name, on real or on synthetic data; None if there is none."""
    real = name.removesuffix(SYNTHETIC)
    folders = [Path(save_dir) / real, Path(save_dir) / (real + SYNTHETIC)]
    runs = [run for folder in folders for run in _runs(folder) if _is_run(run)]
    return RunDir(max(runs, key=_order)) if runs else None


def runs_below(folder: Path, depth: int = 4) -> list[RunDir]:
    """`folder` if it is a run, else the runs up to `depth` folders below it, by name and age, incomplete ones included.

    Links below `folder` are not followed.
    """
    if _is_run(folder):
        return [RunDir(folder)]
    found = []
    for path in sorted(_folders_in(folder), key=_age):
        if _STAMP.fullmatch(path.name):
            found.append(RunDir(path))
        elif depth > 1:
            found += runs_below(path, depth - 1)
    return found


def _folders_in(folder: Path) -> list[Path]:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    return [folder / e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]


def _runs(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if _STAMP.fullmatch(path.name)] if folder.is_dir() else []


def _age(path: Path) -> tuple[str, int]:
    """A sort key: runs by age, other folders by name."""
    return _order(path) if _STAMP.fullmatch(path.name) else (path.name, 0)


def _order(run: Path) -> tuple[str, int]:
    match = _STAMP.fullmatch(run.name)
    assert match
    return match[1], int(match[2] or 1)


def _is_run(path: Path) -> bool:
    return (path / CONFIG).is_file() or (path / CHECKPOINTS).is_dir()


def _no_run(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such run or checkpoint"
    runs = [run for run in _runs(path) if _is_run(run)]
    hint = f"; the newest run in it is {max(runs, key=_order)}" if runs else ""
    return f"{path}: not a run: found neither {CONFIG} nor {CHECKPOINTS}/ in it{hint}"


NOTES = "notes.jsonl"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Note:
    """A text, tags, or both. ConfigError for a malformed tag. A note with neither is not written."""

    text: str = ""
    tags: tuple[str, ...] = ()
    time: str = ""
    """When it was written, in local time: `2026-11-20 16:42:03`."""

    def __post_init__(self) -> None:
        expected = "letters, digits, '.', '_' and '-', a letter or digit first"
        faults = [
            Fault(Origin("command line"), "--tag", "not a tag", repr(tag), expected)
            for tag in self.tags
            if not _TAG.fullmatch(tag)
        ]
        if faults:
            raise ConfigError(faults, "the note")

    def __str__(self) -> str:
        """`2026-11-20 16:42:03 a smaller rate #rates`"""
        return " ".join(filter(None, [self.time, self.text, *(f"#{tag}" for tag in self.tags)]))

    def add_to(self, run: Path) -> None:
        """Writes the note into the run's folder, unless the same note is already there: one command line may start a
        run and resume it many times."""
        text, kept = self.text.strip(), read_notes(run)
        if (not text or text in [note.text for note in kept]) and set(self.tags) <= set(tags_of(kept)):
            return
        line = {
            "time": datetime.now().isoformat(sep=" ", timespec="seconds"),
            "note": text,
            "tags": list(dict.fromkeys(self.tags)),
        }
        path = run / NOTES
        with writing(path):
            before = path.read_bytes().removesuffix(b"\n") + b"\n" if path.exists() else b""
            files.replace_file(path, before + json.dumps(line, ensure_ascii=False).encode(errors="replace") + b"\n")


def read_notes(run: Path) -> list[Note]:
    """The notes of the run in this folder, in the order in which they were added."""
    try:
        return parse_notes((run / NOTES).read_bytes())
    except OSError:
        return []


def parse_notes(data: bytes) -> list[Note]:
    """The notes in a notes.jsonl; lines that are no notes are skipped."""
    notes = []
    for line in data.splitlines():
        try:
            found = json.loads(line)
            notes.append(Note(str(found["note"]), tuple(map(str, found["tags"])), str(found["time"])))
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return notes


def tags_of(notes: Iterable[Note]) -> list[str]:
    """All tags without duplicates."""
    return list(dict.fromkeys(tag for note in notes for tag in note.tags))
