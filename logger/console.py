"""What a person reads while a program runs, and train.log, which keeps it with time and level.

Python's logging is set up by `set_up`, which a program calls once; importing or constructing something never does it.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from base.errors import writing
from base.registry import WRITERS
from utils.streams import silence

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
