"""Places tensors on the device or prefetches batches to it, and runs DataLoader workers."""

from __future__ import annotations

import ctypes
import functools
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from base.errors import DataError, ran_out_of_memory
from data_loader.samples import Failure, Reading, words
from utils.batches import moved

SHARE_OF_DEVICE = 0.25
"""The share of the device's free memory that all datasets together may take when a run starts; the rest is for
weights, gradients and activations."""


def free_memory(device: torch.device) -> int | None:
    """Bytes; None if the device does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


class Placement:
    """Decides which datasets are held on the device, in the order in which they are asked for, and moves each once.

    On the CPU there is nothing to decide, and `reasons` stays empty.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int | None] = free_memory) -> None:
        self.device = device
        self.reasons: dict[str, dict[str, Any]] = {}
        """By label: whether the dataset is on the device, and why."""
        self._free = None if device.type == "cpu" else free(device)
        self._left = SHARE_OF_DEVICE * (self._free or 0)
        self._placed: dict[int, tuple[Sequence[Tensor], Sequence[Tensor], dict[str, Any]]] = {}

    def put(self, label: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The tensors, on the device if they fit there. Parts of one dataset share them."""
        if self.device.type == "cpu":
            return tensors
        if id(tensors) not in self._placed:
            decided = self._decide(sum(tensor.nbytes for tensor in tensors))
            placed = [moved(tensor, self.device) for tensor in tensors] if decided["on_device"] else tensors
            self._placed[id(tensors)] = tensors, placed, decided  # keeps the key alive: an id may be reused
        _, placed, self.reasons[label] = self._placed[id(tensors)]
        return placed

    def _decide(self, size: int) -> dict[str, Any]:
        if self._free is None:
            return {"on_device": False, "reason": f"nobody can tell how much memory is free on {self.device}"}
        fits = size <= self._left
        limit = (
            f"{_megabytes(self._left)} MB left of {SHARE_OF_DEVICE:.0%} of the {_megabytes(self._free)} MB free there"
        )
        self._left -= size * fits
        return {
            "on_device": fits,
            "reason": f"it takes {_megabytes(size)} MB, {'within' if fits else 'more than'} the {limit}",
        }


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"


class RowCopies(Protocol):
    """Copies rows to a device while the program goes on."""

    def begin(self, tensors: Sequence[Tensor], indices: Tensor) -> Any:
        """Gathers the rows and starts to copy them; returns what `end` needs."""

    def end(self, begun: Any) -> list[Tensor]:
        """The rows on the device; whatever is queued there from now on may use them."""


def prefetched(
    tensors: Sequence[Tensor], batches: Iterable[tuple[int, Tensor]], copies: RowCopies
) -> Iterator[tuple[int, list[Tensor]]]:
    """Each batch's position and rows; the next batch is copied while one is used."""
    waiting: list[tuple[int, Any]] = []
    for first, indices in batches:
        waiting.append((first, copies.begin(tensors, indices)))
        if len(waiting) > 1:
            position, begun = waiting.pop(0)
            yield position, copies.end(begun)
    yield from ((position, copies.end(begun)) for position, begun in waiting)


class DevicePrefetcher:
    """Copies rows through pinned memory on a CUDA stream of its own; on other devices plainly."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._cuda = device, device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]

    def begin(self, tensors: Sequence[Tensor], indices: Tensor) -> tuple[list[Tensor], Any]:
        rows = [self._gathered(tensor, indices) for tensor in tensors]
        if self._stream is None:
            return [moved(row, self.device, non_blocking=True) for row in rows], None
        with torch.cuda.stream(self._stream):
            return [moved(row, self.device, non_blocking=True) for row in rows], self._stream.record_event()

    def end(self, begun: tuple[list[Tensor], Any]) -> list[Tensor]:
        rows, event = begun
        if event is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(event)
            for row in rows:
                row.record_stream(current)  # else its memory is reused while that stream still reads it
        return rows

    def _gathered(self, tensor: Tensor, indices: Tensor) -> Tensor:
        shape = (len(indices), *tensor.shape[1:])
        rows = torch.empty(shape, dtype=tensor.dtype, pin_memory=self._cuda)
        return torch.index_select(tensor, 0, indices, out=rows)


PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent dies."""


class TorchLoader(DataLoader[Any]):
    """A DataLoader for a dataset that collates its batches itself. `place` describes an index."""

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
    """Prepares a worker. It ignores the signals that a terminal sends to the whole process group (Ctrl-C, Ctrl-\\, and
    SIGHUP when it closes): the main process needs its workers to finish its step."""
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
        unrelated = isinstance(error, RuntimeError) and "DataLoader" not in str(error)
        if unrelated or ran_out_of_memory(error):
            raise
        slow = "timed out" in str(error)
        what = "a worker process is too slow" if slow else "a worker process died"
        raise DataError(f"{name}: {what}{_at_work(loader, slow)}: {words(error)}") from error


def _at_work(loader: DataLoader[Any], alive: bool) -> str:
    """What the dead workers were reading, or the ones that are `alive`; empty if that is not known."""
    if not isinstance(loader, TorchLoader):
        return ""
    spans = loader.reading.under_way() if alive else loader.reading.lost()
    places = [
        loader.place(first) + (f" and {count - 1} more of its batch" if count > 1 else "") for first, count in spans
    ]
    return f", reading {' or '.join(places)}" if places else ""


class _Deaths:
    """Delays the error for a dead worker until the next batch is asked for.

    torch's handler of SIGCHLD raises it wherever the main thread is, even in the middle of a training step.
    """

    _handler: Callable[[int, Any], Any] | None = None
    _asked = False
    _error: RuntimeError | None = None

    def watch(self) -> None:
        """Wraps torch's handler, if there is one by now. Deaths in an earlier iteration are forgotten."""
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
        """Inside the block the error is raised at once, and so is an earlier one."""
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
