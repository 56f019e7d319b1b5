"""A polite end: signals and a STOP file only ask; the trainer finishes its step, saves, and leaves."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from base.patience import Patience

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP", "SIGQUIT", "SIGXCPU")
REPEATED = ("SIGHUP", "SIGXCPU")
"""The system sends these more than once: a terminal that closes and its shell each SIGHUP, and the kernel SIGXCPU for
every further second of processor time. So a second one is no sign of impatience."""
SECONDS_BETWEEN_LOOKS = 1.0
"""How often the run's folder is looked at for a STOP file."""


class StopRequest:
    """Somebody asked the run to end. `signal` is 0 until then."""

    def __init__(self, stop_file: Path | None = None) -> None:
        self.signal = 0
        self.stop_file = stop_file
        self.patience = Patience()
        self._looked = time.monotonic()

    def __bool__(self) -> bool:
        return bool(self.signal)

    def asked(self) -> bool:
        """Looks for the file, too, now and then: STOP in the run's folder is a SIGTERM in writing, and is removed."""
        now = time.monotonic()
        if now - self._looked > SECONDS_BETWEEN_LOOKS:
            self._looked = now
            if self.stop_file and self.stop_file.exists():
                self.stop_file.unlink(missing_ok=True)
                self.signal = int(signal.SIGTERM)
        return bool(self)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal and signal.Signals(number).name in REPEATED:
            return
        if self.signal:
            os._exit(128 + number)  # asked twice: at once, the last committed save is intact
        self.signal = number
        self.patience.start()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes over the signals that this platform has, unless they are ignored: `nohup` ignores SIGHUP, and a shell
        without job control ignores SIGINT and SIGQUIT for what it starts in the background. Outside the main thread,
        where Python allows no handlers, only the STOP file works."""
        previous = {}
        try:
            for name in NAMES:
                number = getattr(signal, name, None)
                if number and signal.getsignal(number) != signal.SIG_IGN:
                    previous[number] = signal.signal(number, self._handle)
        except ValueError:
            pass
        try:
            yield
        finally:
            self.patience.end()
            for number, handler in previous.items():
                signal.signal(number, handler)
