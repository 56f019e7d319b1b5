"""Batches of data that is read sample by sample, through torch's DataLoader, in this process or in workers."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from base.errors import DataError
from data_loader.ordering import Batching
from data_loader.samples import Failure, Request, Samples, words
from utils.device import to_device


class PerSampleLoader:
    """`options` are further arguments of torch's DataLoader."""

    def __init__(self, samples: Samples, batching: Batching, device: torch.device, **options: Any) -> None:
        self.name, self.device = samples.name, device
        self.size, self.batch_size = batching.size, batching.batch_size
        self._requests = _Requests(batching)
        self._loader = torch_loader(samples, batch_sampler=self._requests, **options)

    def __len__(self) -> int:
        return len(self._requests)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        self._requests.pass_, self._requests.start = pass_, start
        for batch in read(self._loader, self.name):
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


def torch_loader(samples: Any, worker_init_fn: Callable[[int], None] | None = None, **options: Any) -> DataLoader[Any]:
    """A DataLoader of a data set that collates its batches itself."""
    return DataLoader(
        samples,
        collate_fn=_as_it_is,
        worker_init_fn=functools.partial(_start_worker, worker_init_fn),
        generator=torch.Generator(),  # else it draws from the main process's default generator
        **options,
    )


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(then: Callable[[int], None] | None, worker: int) -> None:
    """Ctrl-C reaches the whole process group, and the main process needs its workers to finish its step."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if then is not None:
        then(worker)


def read(loader: DataLoader[Any], name: str) -> Iterator[Any]:
    """The loader's batches; DataError for a sample that fails, a worker that dies or is too slow."""
    try:
        iterator = iter(loader)
    except (AttributeError, TypeError, ImportError, ValueError) as error:
        raise DataError(f"{name} cannot be sent to worker processes: {error}; set num_workers: 0") from error
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except RuntimeError as error:
            if "DataLoader" not in str(error):
                raise
            raise DataError(f"{name}: {words(error)}") from error
        if isinstance(batch, Failure):
            raise batch.to_raise()
        yield batch
