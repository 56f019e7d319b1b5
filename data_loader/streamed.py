"""Batches of an iterable data set, which can only be read forward."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from base.errors import DataError
from base.patience import Interrupted
from base.protocols import TrainingLoader
from data_loader import reading
from data_loader.left_out import LeftOut
from data_loader.samples import END, Failure, Samples
from data_loader.workers import TorchLoader, read
from utils.device import to_device
from utils.seed import derive, foreign

log = logging.getLogger(__name__)


class _Batches(IterableDataset[Any]):
    """The stream cut into batches; those before `start` are read and not made, None stands for each."""

    def __init__(self, samples: Samples, batch_size: int, drop_last: bool) -> None:
        self.samples, self.batch_size, self.drop_last = samples, batch_size, drop_last
        self.pass_, self.first, self.start = 0, 0, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._read():
            reading.begin(())
            yield batch

    def _read(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (self.first + worker.id, worker.num_workers) if worker else (self.first, 1)
        if hasattr(self.samples.dataset, "set_epoch"):
            self.samples.dataset.set_epoch(self.pass_)
        with foreign(derive(self.samples.seed, self.pass_)):
            source = iter(self.samples.dataset)
        while True:
            first = number * self.batch_size
            numbers = range(first, first + self.batch_size)
            samples = self.samples.read(lambda _: next(source, END), self.pass_, first, numbers)
            if isinstance(samples, Failure):
                yield samples
            elif number < self.start:
                yield None
            elif len(samples) == self.batch_size or (samples and not self.drop_last):
                yield self._batch(samples, first)
            if isinstance(samples, Failure) or len(samples) < self.batch_size:
                return
            number += workers

    def _batch(self, samples: list[Any], first: int) -> Any:
        numbers = range(first, first + len(samples))
        batch = self.samples.finish(samples, self.pass_, first, numbers)
        if self.samples.skips and isinstance(batch, Failure) and batch.index is not None:
            return self.samples.one_by_one(lambda number: samples[number - first], self.pass_, first, numbers)
        return batch


class StreamedLoader(TrainingLoader):
    """A pass ends where the data set ends, at the latest after `len` batches; the next one begins anew.

    The data set itself decides the order and, with `get_worker_info`, what each worker reads. If it has a `set_epoch`,
    as those of Hugging Face have, it is told the pass. If it has `state_dict` and `load_state_dict`, a resumed run goes
    on from the state in which it was saved, unless workers read: each of them stands elsewhere.

    A sample's number is its place in the stream. It may be left out if it fails once it is read; what the stream itself
    raises ends it.
    """

    def __init__(
        self,
        samples: Samples,
        batch_size: int,
        drop_last: bool,
        device: torch.device,
        max_errors: int,
        **options: Any,
    ) -> None:
        try:
            size = len(samples.dataset)
        except TypeError:
            hint = "give its class a __len__: how many samples make a pass"
            raise DataError(f"{samples.name} is read as a stream and has no length; {hint}") from None
        self.name, self.device, self.batch_size = samples.name, device, batch_size
        self.left_out = LeftOut(samples.name, max_errors)
        self.size = size - size % batch_size if drop_last else size
        self._batches = _Batches(samples, batch_size, drop_last)
        # Workers are started for each pass, for kept ones would not learn which pass it is.
        options = {**options, "persistent_workers": False}
        self._loader = TorchLoader(self._batches, samples.place, batch_size=None, **options)
        self.workers: int | None = self._loader.num_workers
        has_state = all(hasattr(samples.dataset, name) for name in ("state_dict", "load_state_dict"))
        self._has_state = has_state and not self.workers
        self._beginning = samples.dataset.state_dict() if self._has_state else None
        self._kept: Mapping[str, Any] = {}
        self._at: tuple[int, int] | None = (0, 0)
        """The pass, and how many of its batches were given; None within a batch."""

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on: from there if a state was loaded, else by reading up to it."""
        begun, first = time.monotonic(), self._go_to(pass_, start)
        self._batches.pass_, self._batches.first, self._batches.start = pass_, first, start
        batches = self.left_out.told(read(self._loader, self.name))
        try:
            for number, batch in zip(range(first, len(self)), batches, strict=False):
                self._at = pass_, number + 1
                if number < start:
                    continue
                if number == start > first:
                    log.info("%s: read %d batches forward in %.1f s", self.name, start, time.monotonic() - begun)
                yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)
        except Interrupted:  # while it was read: it stands somewhere within a batch
            self._at = None
            raise

    def _go_to(self, pass_: int, start: int) -> int:
        """Puts the data set where the kept state says, if that is `start` of the pass, else where it began. Gives the
        batch from which it reads."""
        kept, self._kept = self._kept, {}
        there = (kept.get("pass"), kept.get("batch")) == (pass_, start)
        if self._has_state:
            self._batches.samples.dataset.load_state_dict(copy.deepcopy(kept["dataset"] if there else self._beginning))
        number = start if there else 0
        self._at = pass_, number
        return number

    def state_dict(self) -> dict[str, Any]:
        """Where the data set stands, if it can tell and no worker has read ahead of the batches given; else empty."""
        if not self._has_state or self._at is None:
            return {}
        pass_, batch = self._at
        return {"pass": pass_, "batch": batch, "dataset": self._batches.samples.dataset.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next call of `batches`, if it asks for this place, goes on from the state instead of reading forward."""
        self._kept = state if self._has_state else {}
