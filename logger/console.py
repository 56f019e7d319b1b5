"""Console output, train.log, and the progress bar.

Only `set_up` configures Python's logging. Importing this module changes nothing.
"""

from __future__ import annotations

import logging
import math
import os
import re
import shutil
import sys
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
    """Sends log records and Python's warnings to the console, and keeps them for the train.log of a later run.

    `verbosity` 0 shows warnings and errors, 1 also one line per epoch, 2 everything. May be called again.
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
    """Writes the message alone, above a progress bar if there is one; warnings and errors go to stderr.

    If a record has a `table`, the console shows it and train.log gets the message: the same values on one line.
    Tracebacks, and records below WARNING that carry one, appear in train.log only.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.levelno < logging.WARNING:
            return
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        try:
            line = getattr(record, "table", record.getMessage()).rstrip()
            line = colored(line, record) if has_color(stream) else line
            if "tqdm" in sys.modules:
                sys.modules["tqdm"].tqdm.write(line, file=stream)
            else:
                stream.write(line + "\n")
            stream.flush()
        except OSError:  # broken pipe, closed terminal or full disk: the run continues, train.log has everything
            silence(stream)
        except Exception:
            self.handleError(record)


class Backlog(logging.Handler):
    """Keeps the last 1,000 records until there is a run directory."""

    def __init__(self) -> None:
        super().__init__()
        self.records: deque[logging.LogRecord] = deque(maxlen=1000)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class TrainLog(logging.FileHandler):
    """Appends every record to `path`, starting with those of the backlog.

    Raises WriteError if the file cannot be opened. On a full disk it drops records silently, because the metrics and
    checkpoints of the run fail then too and report it.
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
        with suppress(OSError):  # closing retries the writes that failed
            super().close()


def colored(text: str, record: logging.LogRecord) -> str:
    """Warnings are yellow and errors red. In a table the heading is faint and the row of a new best is bold."""
    if record.levelno >= logging.WARNING:
        return f"{RED if record.levelno >= logging.ERROR else YELLOW}{text}{PLAIN}"
    heading, _, row = text.rpartition("\n") if hasattr(record, "table") else ("", "", text)
    row = f"{BOLD}{row}{PLAIN}" if getattr(record, "improved", False) else row
    return f"{FAINT}{heading}{PLAIN}\n{row}" if heading else row


def columns() -> int | None:
    """The width of the terminal in characters; None if stdout is a file or a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def has_color(stream: TextIO) -> bool:
    """True on a terminal that supports colors, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


Read = Callable[[], Mapping[str, float]]
log = logging.getLogger(__name__)


def progress(verbosity: int) -> ProgressBar:
    """Bars if stderr is a terminal that can redraw a line, otherwise lines; nothing below verbosity 2."""
    if verbosity < 2:
        return ProgressBar(Phase)
    return ProgressBar(Bar if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines)


class ProgressBar:
    """The phases in progress. They nest: an evaluation may run inside a training epoch."""

    def __init__(self, kind: type[Phase]) -> None:
        self._kind = kind
        self._phases: list[Phase] = []
        self._epoch_seconds: float | None = None

    def begin(self, title: str, total: int, start: int = 0) -> None:
        """`total` batches follow (0: nobody knows how many), of which the first `start` are done. A title `train 3/10`
        is epoch 3 of 10."""
        phase = self._kind(title, total, start)
        if epoch := re.fullmatch(r"train (\d+)/(\d+)", title):
            phase.epochs_after, phase.epoch_seconds = int(epoch[2]) - int(epoch[1]), self._epoch_seconds
        self._phases.append(phase)

    def end_epoch(self, seconds: float) -> None:
        """`seconds` is the duration of the last epoch including validation, used to estimate the remaining time."""
        self._epoch_seconds = seconds

    def advance(self, read: Read) -> None:
        """One more batch is done. `read` returns the running values; it is called only when they are drawn."""
        phase = self._phases[-1]
        phase.count += 1
        if monotonic() >= phase.due:
            phase.draw(read())
            phase.due = monotonic() + phase.every

    def end(self) -> None:
        self._phases.pop().close()

    def close(self) -> None:
        """Ends the phases that an error has left open."""
        while self._phases:
            self.end()


class Phase:
    """Counts batches and draws nothing. A subclass is drawn every `every` seconds, a shorter phase not at all."""

    every: ClassVar[float] = math.inf

    def __init__(self, title: str, total: int, start: int) -> None:
        self.title, self.total, self.start = title, total, start
        self.count = start
        self.begun = monotonic()
        self.due = self.begun + self.every
        self.epochs_after = 0
        self.epoch_seconds: float | None = None

    def left(self) -> str:
        """`1.2 s left`, or for an epoch `1.2 s left, run 14 s`; empty if nobody knows how many batches follow."""
        if not self.total:
            return ""
        pace = (monotonic() - self.begun) / (self.count - self.start)
        here = (self.total - self.count) * pace
        if not self.epochs_after:
            return f"{format_duration(here)} left"
        after = self.epochs_after * (self.epoch_seconds or self.total * pace)
        return f"{format_duration(here)} left, run {format_duration(here + after)}"

    def draw(self, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Lines(Phase):
    every = 30.0

    def draw(self, values: Mapping[str, float]) -> None:
        done = f"{self.count:{len(str(self.total))}}/{self.total}" if self.total else str(self.count)
        log.info("  ".join(filter(None, [self.title, done, *formatted(values), self.left()])))


class Bar(Phase):
    every = 0.5
    delay = 0.4
    """Without it tqdm draws an empty bar immediately."""

    def __init__(self, title: str, total: int, start: int) -> None:
        from tqdm import tqdm

        super().__init__(title, total, start)
        # No tqdm thread and no tqdm timing: Phase decides when to draw.
        tqdm.monitor_interval = 0
        self.bar = tqdm(
            desc=title,
            total=total or None,
            bar_format="{desc}  {percentage:3.0f}% |{bar:10}| {n_fmt}/{total_fmt}{postfix}",
            leave=False,
            dynamic_ncols=True,
            delay=self.delay,
            mininterval=0,
            miniters=0,
        )

    def draw(self, values: Mapping[str, float]) -> None:
        self.bar.set_postfix_str(", ".join(filter(None, [self.left(), *formatted(values)])), refresh=False)
        self.bar.update(self.count - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def formatted(values: Mapping[str, float]) -> list[str]:
    """`loss 0.4321`, `accuracy 0.8702`"""
    return [f"{name} {format_number(value)}" for name, value in values.items()]
