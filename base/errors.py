"""Errors that the user can fix. Each class has its exit code, and its text is ready to be shown."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class UserError(ValueError):
    """An error whose message suffices without a traceback; the scripts exit with `exit_code`."""

    exit_code: ClassVar[int] = 1


class CheckpointError(UserError):
    """A checkpoint is missing, damaged, refused as untrusted, does not fit, or its run is in use."""

    exit_code = 3


class NotFiniteError(UserError):
    """The loss, a gradient or a weight became NaN or infinite."""

    exit_code = 4


class DataError(UserError):
    """Data is missing or broken, or a worker process died."""

    exit_code = 5


class MissingFiles(DataError):
    """The files of a dataset are missing and could not be downloaded."""


class WriteError(UserError):
    """A file could not be written: disk full, quota, permission."""

    exit_code = 6


class OutOfMemoryError(UserError):
    """The accelerator's or the machine's memory is exhausted."""

    exit_code = 7


class MetricError(UserError):
    """A metric got outputs and targets that it cannot handle; at a start this becomes a ConfigError."""

    exit_code = 5

    def __init__(self, metric: object, what: str) -> None:
        self.metric, self.what = metric, what
        super().__init__(f"{getattr(metric, '__name__', type(metric).__name__)}: {what}")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an OSError into a WriteError with a one-line message."""
    try:
        yield
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}") from error


def ran_out_of_memory(error: BaseException) -> bool:
    """True for the out-of-memory errors of accelerators, of torch's CPU allocator and of Python."""
    name, text = type(error).__name__, str(error)
    return name in ("OutOfMemoryError", "MemoryError") or "can't allocate memory" in text or "not enough memory" in text


@dataclass(frozen=True)
class Origin:
    """Where a value was written: a position in a file, or a description of an override (then `line` is 0)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


DEFAULT = Origin("default")
_LINE_BREAK = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


@dataclass(frozen=True)
class Fault:
    """One error in a config: where, at which key, what is wrong, what was found, what is expected, how to fix it.

    **A fault cannot run, or can be meant at no length of the training; a warning trains, but a part of it never acts,
    or acts against its purpose.** A warning is a Fault with `is_warning`: it is printed, and the run starts.
    """

    origin: Origin
    key: str
    what: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    is_warning: bool = False

    def __str__(self) -> str:
        parts = [self.what]
        if self.found:
            parts.append(f"found {self.found}")
        if self.expected:
            parts.append(f"expected {self.expected}")
        if self.hint:
            parts.append(self.hint)
        words = self.origin.source.replace("=", " ").split()  # an override already names its key
        where = f"{self.origin}: warning" if self.is_warning else str(self.origin)
        where += f": {self.key}" if self.key and self.key not in words else ""
        return _LINE_BREAK.sub(lambda found: repr(found[0])[1:-1], f"{where}: {'; '.join(parts)}")


class ConfigError(UserError):
    """A config that cannot be run; `faults` holds all errors, sorted by position."""

    exit_code = 2

    def __init__(self, faults: Iterable[Fault], source: str = "the config") -> None:
        self.faults: list[Fault] = sorted(dict.fromkeys(faults), key=_place)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n".join([*map(str, self.faults), f"{count} in {source}: nothing was started"]))


def _place(fault: Fault) -> tuple[bool, str, int, int, str]:
    origin = fault.origin
    return (not origin.line, origin.source, origin.line, origin.column, fault.key)


def suggest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name closest to `word`, ignoring case; None if no name is similar."""
    names = {name.lower(): name for name in known}
    nearest = difflib.get_close_matches(word.lower(), names, n=1, cutoff=cutoff)
    return names[nearest[0]] if nearest else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`"did you mean 'epochs'?"`, or an empty string; `word` may be any value of a config."""
    nearest = suggest(word, known) if isinstance(word, str) else None
    return f"did you mean {nearest!r}?" if nearest else ""


def listing(words: Iterable[str], last: str = "or", most: int = 8) -> str:
    """`a, b or c`; `a, b, c ...` if there are more than `most`."""
    words = list(words)
    if len(words) > most:
        return f"{', '.join(words[:most])} ..."
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)
