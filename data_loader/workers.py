"""torch's DataLoader and its worker processes, in plain words when they fail."""

from __future__ import annotations

import ctypes
import functools
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.data import DataLoader

from base.errors import DataError, ran_out_of_memory
from data_loader.reading import Reading
from data_loader.samples import Failure, words

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


class TorchLoader(DataLoader[Any]):
    """A DataLoader of a data set that collates its batches itself. `place` says an index in words."""

    def __init__(
        self,
        samples: Any,
        place: Callable[[int], str],
        num_workers: int = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        **options: Any,
    ) -> None:
        self.reading, self.place = Reading(num_workers), place
        if num_workers and sys.platform == "linux":  # from 3.14 on Python would import torch anew in each worker
            options["multiprocessing_context"] = options.get("multiprocessing_context") or "fork"
        super().__init__(
            samples,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            worker_init_fn=functools.partial(start_worker, worker_init_fn, self.reading),
            generator=torch.Generator(),  # else it draws from the main process's default generator
            **options,
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def start_worker(then: Callable[[int], None] | None, reading: Reading, worker: int) -> None:
    """A terminal sends its signals (Ctrl-C, Ctrl-\\, SIGHUP when it closes) to the whole process group, and the main
    process needs its workers to finish its step."""
    for name in ("SIGINT", "SIGQUIT", "SIGHUP"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":  # else a worker notices that its parent is gone within 5 s
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reading.take_slot(worker)
    if then is not None:
        then(worker)


def read(loader: DataLoader[Any], name: str) -> Iterator[Any]:
    """The loader's batches. DataError for a sample that fails and for a worker that dies or is too slow."""
    try:
        iterator = iter(loader)
    except Exception as error:
        raise DataError(f"{name}: no worker process can be started: {words(error)}; set num_workers: 0") from error
    _DEATHS.watch()
    try:
        while (batch := _next(iterator, loader, name)) is not _END:
            if isinstance(batch, Failure):
                raise batch.to_raise()
            yield batch
    finally:
        del iterator  # ends its workers now; left to the garbage collector they take seconds over it


_END = object()


def _next(iterator: Iterator[Any], loader: DataLoader[Any], name: str) -> Any:
    try:
        with _DEATHS.reported():
            return next(iterator, _END)
    except (RuntimeError, EOFError, OSError) as error:
        if not loader.num_workers:
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the iterator
        # What is no RuntimeError comes from asking a worker that is no more for the memory of its tensors.
        foreign = isinstance(error, RuntimeError) and "DataLoader" not in str(error)
        if foreign or ran_out_of_memory(error):
            raise
        slow = "timed out" in str(error)
        what = "a worker process is too slow" if slow else "a worker process died"
        raise DataError(f"{name}: {what}{_at_work(loader, slow)}: {words(error)}") from error


def _at_work(loader: DataLoader[Any], alive: bool) -> str:
    """What the workers that died read, or all that are `alive`; empty if that is not known."""
    if not isinstance(loader, TorchLoader):
        return ""
    spans = loader.reading.under_way() if alive else loader.reading.lost()
    places = [
        loader.place(first) + (f" and {count - 1} more of its batch" if count > 1 else "") for first, count in spans
    ]
    return f", reading {' or '.join(places)}" if places else ""


class _Deaths:
    """When a worker dies, torch's handler of SIGCHLD raises an error wherever the main thread is, in the middle of a
    training step. Here it is held back until a batch is asked for."""

    def __init__(self) -> None:
        self._handler: Callable[[int, Any], Any] | None = None
        self._asked = False
        self._error: RuntimeError | None = None

    def watch(self) -> None:
        """Stands before torch's handler, if there is one by now. Deaths of an earlier iteration are forgotten."""
        self._error = None
        if not hasattr(signal, "SIGCHLD") or threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and handler != self._on_child:
            self._handler = handler
            signal.signal(signal.SIGCHLD, self._on_child)
        if self._handler is not None:
            self._on_child(signal.SIGCHLD, None)  # one may have died before torch knew it

    @contextmanager
    def reported(self) -> Iterator[None]:
        """Inside, the error is raised, one that came before too."""
        error, self._error, self._asked = self._error, None, True
        try:
            if error is not None:
                raise error
            yield
        finally:
            self._asked = False

    def _on_child(self, number: int, frame: Any) -> None:
        assert self._handler is not None
        try:
            self._handler(number, frame)
        except RuntimeError as error:
            if self._asked:
                raise
            self._error = error


_DEATHS = _Deaths()
