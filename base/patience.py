"""A run that was asked to end does not wait for ever for data that never comes."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

SECONDS = 10.0
"""How long a run that was asked to end still waits for a batch."""


class Interrupted(BaseException):
    """Work was left because somebody asked the run to end; it is done again on resume. Not for `except Exception` of
    the code in between."""


class Patience:
    """Inside `with patience:` the main thread waits for data. Once `start` was called, a wait that lasts longer than
    `SECONDS` ends with `Interrupted`. Where the platform has no timer signal, a second Ctrl-C ends the run.

    The alarm comes again and again: it may find the run at work the first time and waiting the next.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._previous: Any = None
        self._started = False

    def __enter__(self) -> None:
        self._waiting = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._waiting = False

    def start(self) -> None:
        """To be called in the main thread."""
        if hasattr(signal, "setitimer"):
            self._started, self._previous = True, signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)

    def end(self) -> None:
        if self._started:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, self._previous)
            self._started = False

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._waiting:
            raise Interrupted
