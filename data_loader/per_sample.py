"""Batches of data that is read sample by sample, through torch's DataLoader, in this process or in workers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from base.errors import DataError
from data_loader.ordering import Batching
from data_loader.samples import Failure, Partial, Request, Samples
from data_loader.workers import read, torch_loader
from utils.device import to_device

log = logging.getLogger(__name__)


class PerSampleLoader:
    """`max_errors` bounds how many different samples may be left out, where samples that fail are.

    `options` are further arguments of torch's DataLoader.
    """

    def __init__(
        self, samples: Samples, batching: Batching, device: torch.device, max_errors: int, **options: Any
    ) -> None:
        self.name, self.device, self.max_errors = samples.name, device, max_errors
        self.left_out: set[int] = set()
        self.size, self.batch_size = batching.size, batching.batch_size
        self._requests = _Requests(batching)
        self._loader = torch_loader(samples, batch_sampler=self._requests, **options)
        self.workers: int | None = self._loader.num_workers

    def __len__(self) -> int:
        return len(self._requests)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        self._requests.pass_, self._requests.start = pass_, start
        for batch in read(self._loader, self.name):
            if isinstance(batch, Partial):
                self._tell(batch.failures)
                if (batch := batch.batch) is None:
                    raise DataError(f"{self.name}: every sample of a batch fails: there is nothing to go on with")
            yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)

    def _tell(self, failures: Iterable[Failure]) -> None:
        """One line for each sample the first time that it is left out. DataError if there are too many."""
        for failure in failures:
            assert failure.index is not None
            if failure.index not in self.left_out:
                self.left_out.add(failure.index)
                if len(self.left_out) > self.max_errors:
                    what = f"more than data.max_errors ({self.max_errors}) samples fail, the last of them"
                    raise DataError(f"{what}: {failure.message}") from failure.error
                log.warning("left out (%d of at most %d): %s", len(self.left_out), self.max_errors, failure.message)


class _Requests:
    """The batch sampler that the DataLoader is given; it is told pass and start before each iteration."""

    def __init__(self, batching: Batching) -> None:
        self.batching, self.pass_, self.start = batching, 0, 0

    def __len__(self) -> int:
        return len(self.batching)

    def __iter__(self) -> Iterator[Request]:
        pass_ = self.pass_
        return ((pass_, first, indices.tolist()) for first, indices in self.batching.batches(pass_, self.start))
