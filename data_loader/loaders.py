"""Loaders: batches from tensors in memory, from samples read one by one, and from streams."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from base.errors import DataError, ran_out_of_memory
from base.loop.stopping import Interrupted
from base.protocols import FollowsPasses, Stateful, TrainingLoader
from data_loader import samples
from data_loader.prefetch import DevicePrefetcher, RowCopies, TorchLoader, prefetched, read
from data_loader.samplers import BatchOrder
from data_loader.samples import END, Failure, Partial, Request, Samples, words
from data_loader.transforms import Pipeline, SampleError
from utils.batches import Role, SampleKeys, rows_of, to_device
from utils.seed import fold_in, isolated_rng

log = logging.getLogger(__name__)


class SkippedSamples:
    """The samples of one dataset that failed; at most `most` different ones may."""

    def __init__(self, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.indices: set[int] = set()

    def filter(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, without the samples that fail; each of these is logged the first time.

        DataError if too many fail, or all of a batch.
        """
        for batch in batches:
            if isinstance(batch, Partial):
                self._log(batch)
                if (batch := batch.batch) is None:
                    raise DataError(f"{self.name}: every sample of a batch fails: there is nothing to go on with")
            yield batch

    def _log(self, partial: Partial) -> None:
        for failure in partial.failures:
            assert failure.index is not None
            if failure.index not in self.indices:
                self.indices.add(failure.index)
                if len(self.indices) > self.most:
                    what = f"more than data.max_errors ({self.most}) samples fail, the last of them"
                    raise DataError(f"{what}: {failure.message}") from failure.error
                log.warning("left out (%d of at most %d): %s", len(self.indices), self.most, failure.message)


class InMemoryLoader(TrainingLoader):
    """Batches of `tensors`, aligned on dimension 0: lists of their rows, as torch's DataLoader makes them.

    The rows keep their type on the way to `device`. If the tensors are there, they are gathered there; else `copies`
    copies them, one batch ahead. Then the transforms change input and target, which `places` tells apart.
    """

    workers: int | None = None

    def __init__(
        self,
        tensors: Sequence[Tensor],
        name: str,
        batching: BatchOrder,
        places: SampleKeys,
        transform: Pipeline,
        target_transform: Pipeline,
        device: torch.device,
        copies: RowCopies | None = None,
    ) -> None:
        self.tensors, self.name, self.batching = tensors, name, batching
        self.size, self.batch_size = batching.size, batching.batch_size
        stages: list[tuple[Role, Pipeline]] = [("input", transform), ("target", target_transform)]
        self._stages = [(places.key_of(role, tensors), pipeline) for role, pipeline in stages if pipeline.transforms]
        lies_there = all(tensor.device.type == device.type for tensor in tensors)
        self._copies = copies if copies or lies_there else DevicePrefetcher(device)

    def __len__(self) -> int:
        return len(self.batching)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        if self._copies is not None:
            rows = prefetched(self.tensors, self.batching.batches(pass_, start), self._copies)
        else:
            batches = self.batching.batches(pass_, start, self.tensors[0].device)
            rows = ((first, rows_of(self.tensors, indices)) for first, indices in batches)
        for first, batch in rows:
            for key, pipeline in self._stages:
                try:
                    batch[key] = pipeline.on_batch(batch[key], pass_, first)  # type: ignore[index]
                except SampleError as failed:
                    if ran_out_of_memory(failed.error):
                        raise failed.error from None
                    raise DataError(f"{self.name}: {failed.step}: {words(failed.error)}") from failed.error
            yield batch


class PerSampleLoader(TrainingLoader):
    """Batches that torch's DataLoader reads sample by sample; `options` are further arguments of it.

    If failing samples are skipped, at most `max_errors` different ones may fail.
    """

    def __init__(
        self, samples: Samples, batching: BatchOrder, device: torch.device, max_errors: int, **options: Any
    ) -> None:
        self.name, self.device, self.skipped = samples.name, device, SkippedSamples(samples.name, max_errors)
        self.size, self.batch_size = batching.size, batching.batch_size
        self._requests = _Requests(batching)
        self._loader = TorchLoader(samples, samples.place, batch_sampler=self._requests, **options)
        self.workers: int | None = self._loader.num_workers

    def __len__(self) -> int:
        return len(self._requests)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        self._requests.pass_, self._requests.start = pass_, start
        for batch in self.skipped.filter(read(self._loader, self.name)):
            yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)


class _Requests:
    """The DataLoader's batch sampler; pass and start are set before each iteration."""

    def __init__(self, batching: BatchOrder) -> None:
        self.batching, self.pass_, self.start = batching, 0, 0

    def __len__(self) -> int:
        return len(self.batching)

    def __iter__(self) -> Iterator[Request]:
        pass_ = self.pass_
        return ((pass_, first, indices.tolist()) for first, indices in self.batching.batches(pass_, self.start))


class _Batches(IterableDataset[Any]):
    """The stream cut into batches. Those before `start` are read but not made: None stands for each."""

    def __init__(self, samples: Samples, batch_size: int, drop_last: bool) -> None:
        self.samples, self.batch_size, self.drop_last = samples, batch_size, drop_last
        self.pass_, self.first, self.start = 0, 0, 0

    def __iter__(self) -> Iterator[Any]:
        for batch in self._read():
            samples.note_reading(())
            yield batch

    def _read(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (self.first + worker.id, worker.num_workers) if worker else (self.first, 1)
        if isinstance(self.samples.dataset, FollowsPasses):
            self.samples.dataset.set_epoch(self.pass_)
        with isolated_rng(fold_in(self.samples.seed, self.pass_)):
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
    """Batches of a stream. A pass ends when the dataset ends, at the latest after `len` batches; the next one restarts.

    The dataset itself decides the order and, with `get_worker_info`, what each worker reads. If it has `set_epoch`, as
    Hugging Face's datasets do, that is called with the pass. If it has `state_dict` and `load_state_dict`, a resumed
    run continues from the saved state, unless workers read: each has a place of its own.

    A sample's number is its place in the stream. A sample that was read and then fails may be skipped; an error of the
    stream itself ends the run.
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
        self.skipped = SkippedSamples(samples.name, max_errors)
        self.size = size - size % batch_size if drop_last else size
        self._batches = _Batches(samples, batch_size, drop_last)
        # Workers are started for each pass: persistent ones would not know which pass it is.
        options = {**options, "persistent_workers": False}
        self._loader = TorchLoader(self._batches, samples.place, batch_size=None, **options)
        self.workers: int | None = self._loader.num_workers
        self._has_state = isinstance(samples.dataset, Stateful) and not self.workers
        self._beginning = samples.dataset.state_dict() if self._has_state else None
        self._kept: Mapping[str, Any] = {}
        self._at: tuple[int, int] | None = (0, 0)
        """The pass and the number of batches given; None within a batch."""

    def __len__(self) -> int:
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on: from a loaded state, else by reading up to it."""
        begun, first = time.monotonic(), self._go_to(pass_, start)
        self._batches.pass_, self._batches.first, self._batches.start = pass_, first, start
        batches = self.skipped.filter(read(self._loader, self.name))
        try:
            for number, batch in zip(range(first, len(self)), batches, strict=False):
                self._at = pass_, number + 1
                if number < start:
                    continue
                if number == start > first:
                    log.info("%s: read %d batches forward in %.1f s", self.name, start, time.monotonic() - begun)
                yield to_device(batch, self.device, non_blocking=self._loader.pin_memory)
        except Interrupted:  # while reading: the dataset is somewhere within a batch
            self._at = None
            raise

    def _go_to(self, pass_: int, start: int) -> int:
        """Restores the dataset's loaded state if that is `start` of the pass, else its first one. Returns the batch at
        which reading starts."""
        kept, self._kept = self._kept, {}
        there = (kept.get("pass"), kept.get("batch")) == (pass_, start)
        if self._has_state:
            self._batches.samples.dataset.load_state_dict(copy.deepcopy(kept["dataset"] if there else self._beginning))
        number = start if there else 0
        self._at = pass_, number
        return number

    def state_dict(self) -> dict[str, Any]:
        """The dataset's place in the stream; empty if it has no state or workers have read ahead."""
        if not self._has_state or self._at is None:
            return {}
        pass_, batch = self._at
        return {"pass": pass_, "batch": batch, "dataset": self._batches.samples.dataset.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next call of `batches` continues from this state if it asks for this place."""
        self._kept = state if self._has_state else {}
