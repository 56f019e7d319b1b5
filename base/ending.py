"""The end of a run: callbacks, the writing of checkpoints and the log are all brought to it, whatever happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from base.errors import NotFiniteError, WriteError
from base.patience import Interrupted

if TYPE_CHECKING:
    from base.base_trainer import BaseTrainer

log = logging.getLogger(__name__)


class Ending:
    """with Ending(trainer) as ending:
        ending.reason = ...

    `reason` is why the run ended. It becomes `error` or `not_finite` if the block raises, and `signal` if somebody
    asked the run to end while it evaluated; that is no error.

    The run ends with the first error there is. Later ones, of a callback or of the thread that writes checkpoints, get
    a line each, but a full disk is told once, however many files it fails.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self.trainer, self.reason = trainer, "error"

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> bool:
        if isinstance(error, Interrupted):
            self.reason, error = "signal", None
        elif error is not None:
            self.reason = "not_finite" if isinstance(error, NotFiniteError) else "error"
        trainer, hooks = self.trainer, self.trainer.callbacks.hooks["on_fit_end"]
        first = error
        works: list[Callable[[], None]] = [partial(hook, trainer, self.reason) for hook in hooks]
        works += [trainer.store.join] if trainer.store is not None else []
        works.append(partial(trainer.log.end, self.reason))
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
