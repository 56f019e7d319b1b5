"""Console output, train.log, and the progress bar.

Python's logging is set up by `set_up`, which a program calls once; importing or constructing something never does it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import ClassVar, TextIO

from base.errors import writing
from base.registry import WRITERS
from utils.formatting import format_duration, format_number
from utils.process import silence

EPOCH = 25
"""Level of the epoch lines, between INFO and WARNING."""
LEVELS = {0: logging.WARNING, 1: EPOCH, 2: logging.INFO}
BOLD, FAINT, YELLOW, RED, PLAIN = "\033[1m", "\033[2m", "\033[33m", "\033[31m", "\033[0m"


@WRITERS.register("console")
def set_up(verbosity: int = 2) -> None:
    """Sends log records and Python's warnings to the console; 0 shows warnings and errors only, 1 also one line an
    epoch, 2 everything. May be called again. What is logged before there is a run folder is kept for its train.log.
    """
    logging.addLevelName(EPOCH, "EPOCH")
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    for handler in [handler for handler in root.handlers if isinstance(handler, Console)]:
        root.removeHandler(handler)
    root.addHandler(Console(LEVELS[verbosity]))
    if not any(isinstance(handler, Backlog | TrainLog) for handler in root.handlers):
        root.addHandler(Backlog())


class Console(logging.Handler):
    """Writes the message alone, above a progress bar if there is one; warnings and errors to stderr. A record with a
    `table` is shown as that: train.log has the message, which says the same on a line that can be searched for.

    Tracebacks are left to train.log, and so are records below WARNING that carry one.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.levelno < logging.WARNING:
            return
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        try:
            line = getattr(record, "table", record.getMessage()).rstrip()
            line = paint(line, record) if has_colour(stream) else line
            if "tqdm" in sys.modules:
                sys.modules["tqdm"].tqdm.write(line, file=stream)
            else:
                stream.write(line + "\n")
            stream.flush()
        except OSError:  # nobody reads, the terminal is gone, the disk is full: the run goes on, train.log has it all
            silence(stream)
        except Exception:
            self.handleError(record)


class Backlog(logging.Handler):
    """Keeps the last 1,000 records of a program that has no run folder yet."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class TrainLog(logging.FileHandler):
    """Appends every record to `path`, those of the backlog first.

    WriteError if there can be no such file. A record that finds no room is lost without a word: the numbers and the
    checkpoints of the run have no room either, and they say so.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            super().__init__(path, encoding="utf-8")
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
        root = logging.getLogger()
        for backlog in [handler for handler in root.handlers if isinstance(handler, Backlog)]:
            root.removeHandler(backlog)
            for record in backlog.records:
                self.handle(record)
        root.addHandler(self)

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        logging.getLogger().removeHandler(self)
        with suppress(OSError):  # it tries once more to write what it could not
            super().close()


def paint(text: str, record: logging.LogRecord) -> str:
    """Warnings yellow, errors red; of a table the heading faint and the row of a new best bold."""
    if record.levelno >= logging.WARNING:
        return f"{RED if record.levelno >= logging.ERROR else YELLOW}{text}{PLAIN}"
    heading, _, row = text.rpartition("\n") if hasattr(record, "table") else ("", "", text)
    row = f"{BOLD}{row}{PLAIN}" if getattr(record, "improved", False) else row
    return f"{FAINT}{heading}{PLAIN}\n{row}" if heading else row


def columns() -> int | None:
    """Characters in a line of the terminal; None where lines go to a file or a pipe, and may be of any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def has_colour(stream: TextIO) -> bool:
    """True on a terminal that shows colours, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


Read = Callable[[], Mapping[str, float]]
log = logging.getLogger(__name__)


def progress(verbosity: int) -> ProgressBar:
    """Bars if stderr is a terminal that can redraw a line, else lines; nothing below verbosity 2."""
    if verbosity < 2:
        return NullProgress()
    return ProgressBar(Bar if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines)


class ProgressBar:
    """The phases under way: an evaluation inside a training epoch is one within another."""

    def __init__(self, kind: type[Phase]) -> None:
        self._kind = kind
        self._phases: list[Phase] = []
        self._epoch_seconds: float | None = None

    def begin(self, title: str, total: int, start: int = 0) -> None:
        """`total` batches follow, the first `start` of them are done already. `train 3/10` is an epoch of several."""
        phase = self._kind(title, total, start)
        if epoch := re.fullmatch(r"train (\d+)/(\d+)", title):
            phase.epochs_after, phase.epoch_seconds = int(epoch[2]) - int(epoch[1]), self._epoch_seconds
        self._phases.append(phase)

    def end_epoch(self, seconds: float) -> None:
        """How long the last epoch took, with its validation: the pace at which those to come are reckoned."""
        self._epoch_seconds = seconds

    def advance(self, read: Read) -> None:
        """One more batch is done. `read` gives the running values; it is called only when they are drawn."""
        phase = self._phases[-1]
        phase.count += 1
        if monotonic() >= phase.due:
            phase.draw(read())
            phase.due = monotonic() + phase.every

    def end(self) -> None:
        self._phases.pop().close()

    def close(self) -> None:
        """Ends what an error has left open."""
        while self._phases:
            self.end()


class NullProgress(ProgressBar):
    """Draws nothing."""

    def __init__(self) -> None: ...
    def begin(self, title: str, total: int, start: int = 0) -> None: ...
    def end_epoch(self, seconds: float) -> None: ...
    def advance(self, read: Read) -> None: ...
    def end(self) -> None: ...
    def close(self) -> None: ...


class Phase(ABC):
    """Is drawn when `every` seconds have passed since the last time; a shorter one is not drawn at all."""

    every: ClassVar[float]

    def __init__(self, title: str, total: int, start: int) -> None:
        self.title, self.total, self.start = title, total, start
        self.count = start
        self.begun = monotonic()
        self.due = self.begun + self.every
        self.epochs_after = 0
        self.epoch_seconds: float | None = None

    def left(self) -> str:
        """`1.2 s left`, and of an epoch `1.2 s left, run 14 s`."""
        pace = (monotonic() - self.begun) / (self.count - self.start)
        here = (self.total - self.count) * pace
        if not self.epochs_after:
            return f"{format_duration(here)} left"
        after = self.epochs_after * (self.epoch_seconds or self.total * pace)
        return f"{format_duration(here)} left, run {format_duration(here + after)}"

    @abstractmethod
    def draw(self, values: Mapping[str, float]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...


class Lines(Phase):
    every = 30.0

    def draw(self, values: Mapping[str, float]) -> None:
        done = f"{self.count:{len(str(self.total))}}/{self.total}"
        log.info("  ".join([self.title, done, *spelled(values), self.left()]))

    def close(self) -> None:
        """A line needs no end."""


class Bar(Phase):
    every = 0.5
    delay = 0.4
    """Else tqdm draws an empty bar at once."""

    def __init__(self, title: str, total: int, start: int) -> None:
        from tqdm import tqdm

        super().__init__(title, total, start)
        # No thread of tqdm's and no opinion of its own on when to draw: Progress has the clock.
        tqdm.monitor_interval = 0
        self.bar = tqdm(
            desc=title,
            total=total,
            bar_format="{desc}  {percentage:3.0f}% |{bar:10}| {n_fmt}/{total_fmt}{postfix}",
            leave=False,
            dynamic_ncols=True,
            delay=self.delay,
            mininterval=0,
            miniters=0,
        )

    def draw(self, values: Mapping[str, float]) -> None:
        self.bar.set_postfix_str(", ".join([self.left(), *spelled(values)]), refresh=False)
        self.bar.update(self.count - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def spelled(values: Mapping[str, float]) -> list[str]:
    """`loss 0.4321`, `accuracy 0.8702`"""
    return [f"{name} {format_number(value)}" for name, value in values.items()]
