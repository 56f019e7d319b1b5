"""Batches of an iterable data set, which can only be read forward."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from base.errors import DataError
from data_loader.samples import END, Failure, Samples
from data_loader.workers import read, torch_loader
from utils.device import to_device
from utils.seed import derive, foreign

log = logging.getLogger(__name__)


class _Batches(IterableDataset[Any]):
    """The stream cut into batches; those before `start` are read and not made, None stands for each."""

    def __init__(self, samples: Samples, batch_size: int, drop_last: bool) -> None:
        self.samples, self.batch_size, self.drop_last = samples, batch_size, drop_last
        self.pass_, self.first, self.start = 0, 0, 0

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (self.first + worker.id, worker.num_workers) if worker else (self.first, 1)
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
                yield self.samples.finish(samples, self.pass_, first, numbers)
            if isinstance(samples, Failure) or len(samples) < self.batch_size:
                return
            number += workers


class StreamedLoader:
    """A pass ends where the data set ends, at the latest after `len` batches.

    The data set itself decides the order and, with `get_worker_info`, what each worker reads.
    """

    def __init__(
        self, samples: Samples, batch_size: int, drop_last: bool, device: torch.device, **options: Any
    ) -> None:
        try:
            size = len(samples.dataset)
        except TypeError:
            hint = "give its class a __len__: how many samples make a pass"
            raise DataError(f"{samples.name} is read as a stream and has no length; {hint}") from None
        self.name, self.device, self.batch_size = samples.name, device, batch_size
        self.size = size - size % batch_size if drop_last else size
        self._batches, self._restored = _Batches(samples, batch_size, drop_last), False
        # Workers are started for each pass, for kept ones would not learn which pass it is.
        self._loader = torch_loader(self._batches, batch_size=None, **{**options, "persistent_workers": False})
        self.workers: int | None = self._loader.num_workers

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on: from there if a state was loaded, else by reading up to it."""
        begun, first, self._restored = time.monotonic(), start if self._restored else 0, False
        self._batches.pass_, self._batches.first, self._batches.start = pass_, first, start
        for number, batch in zip(range(first, len(self)), read(self._loader, self.name), strict=False):
            if number < start:
                continue
            if number == start > first:
                log.info("%s: read %d batches forward in %.1f s", self.name, start, time.monotonic() - begun)
            yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)

    def state_dict(self) -> dict[str, Any]:
        """Where the data set stands, if it can tell and no worker has read ahead of the batches given; else empty."""
        dataset = self._batches.samples.dataset
        known = hasattr(dataset, "state_dict") and not self._loader.num_workers
        return {"dataset": dataset.state_dict()} if known else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next call of `batches` goes on from this state instead of reading forward."""
        if "dataset" in state:
            self._batches.samples.dataset.load_state_dict(state["dataset"])
            self._restored = True
