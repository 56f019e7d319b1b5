"""How a run stops: signals, a STOP file, data that never comes, and what is closed at its end."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from base.errors import DataError, NotFiniteError, WriteError
from base.protocols import Loader, RunLog, batches_in

if TYPE_CHECKING:
    from base.checkpoint.store import CheckpointStore

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


_END = object()


def batches_of(loader: Loader, request: StopRequest, pass_: int = 0, start: int = 0, title: str = "") -> Iterator[Any]:
    """The batches of one pass from batch `start` on. `title` is what errors call it, by default the pass by its number.

    DataError if a whole pass has no batch: an iterator that is kept is exhausted after its first pass, and a run would
    wait for its next batch for ever. `Interrupted` if the run was asked to end and a batch does not come.
    """
    batches, given = loader.batches(pass_, start), False
    while True:
        with request.patience:
            batch = next(batches, _END)
        if batch is _END:
            break
        given = True
        yield batch
    if not given and start == 0:
        title = title or f"pass {pass_ + 1}"
        hint = "return a fresh iterator each time from __iter__ of the dataset, its sampler or its loader"
        number = batches_in(loader)
        expected = "one or more" if number is None else f"{number} ({loader.size} samples)"
        raise DataError(f"{loader.name}: {title} gave 0 batches, expected {expected}: {hint}")


log = logging.getLogger(__name__)


class Ending:
    """with Ending(hooks, store, log) as ending:
        ending.reason = ...

    Afterwards calls each of `hooks` with the reason, waits for the store's thread, and ends the log.

    `reason` is why the run ended. It becomes `error` or `not_finite` if the block raises, and `signal` if somebody
    asked the run to end while it evaluated; that is no error.

    The run ends with the first error there is. Later ones, of a callback or of the thread that writes checkpoints, get
    a line each, but a full disk is told once, however many files it fails.
    """

    def __init__(self, hooks: Iterable[Callable[[str], None]], store: CheckpointStore | None, run_log: RunLog) -> None:
        self.hooks, self.store, self.log = hooks, store, run_log
        self.reason = "error"

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if isinstance(error, Interrupted):
            self.reason, error = "signal", None
        elif error is not None:
            self.reason = "not_finite" if isinstance(error, NotFiniteError) else "error"
        first = error
        works: list[Callable[[], None]] = [partial(hook, self.reason) for hook in self.hooks]
        works += [self.store.join] if self.store is not None else []
        works.append(partial(self.log.end, self.reason))
        for work in works:
            try:
                work()
            except BaseException as later:
                same_disk = isinstance(first, WriteError) and isinstance(later, WriteError)
                if first is not None and not same_disk:
                    log.error("%s: %s", type(later).__name__, later)
                    log.info("its traceback", exc_info=later)  # for train.log alone
                first = first or later
        if first is not None and first is not error:
            raise first
        return error is None
