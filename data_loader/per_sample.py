"""Batches of data that is read sample by sample, through torch's DataLoader, in this process or in workers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from base.protocols import TrainingLoader
from data_loader.left_out import LeftOut
from data_loader.ordering import Batching
from data_loader.samples import Request, Samples
from data_loader.workers import TorchLoader, read
from utils.device import to_device


class PerSampleLoader(TrainingLoader):
    """`max_errors` bounds how many different samples may be left out, where samples that fail are.

    `options` are further arguments of torch's DataLoader.
    """

    def __init__(
        self, samples: Samples, batching: Batching, device: torch.device, max_errors: int, **options: Any
    ) -> None:
        self.name, self.device, self.left_out = samples.name, device, LeftOut(samples.name, max_errors)
        self.size, self.batch_size = batching.size, batching.batch_size
        self._requests = _Requests(batching)
        self._loader = TorchLoader(samples, samples.place, batch_sampler=self._requests, **options)
        self.workers: int | None = self._loader.num_workers

    def __len__(self) -> int:
        return len(self._requests)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        self._requests.pass_, self._requests.start = pass_, start
        for batch in self.left_out.told(read(self._loader, self.name)):
            yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)


class _Requests:
    """The batch sampler that the DataLoader is given; it is told pass and start before each iteration."""

    def __init__(self, batching: Batching) -> None:
        self.batching, self.pass_, self.start = batching, 0, 0

    def __len__(self) -> int:
        return len(self.batching)

    def __iter__(self) -> Iterator[Request]:
        pass_ = self.pass_
        return ((pass_, first, indices.tolist()) for first, indices in self.batching.batches(pass_, self.start))
