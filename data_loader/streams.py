"""Streams: datasets that are read from their beginning to their end, one sample after another."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info
from torch.utils.data._utils import worker as torch_worker

from base.errors import ConfigError, Fault, Origin
from base.loop.stopping import Interrupted
from base.protocols import FollowsPasses, Stateful, TrainingLoader
from data_loader import samples
from data_loader.loaders import SinglePrecision, SkippedSamples
from data_loader.prefetch import TorchLoader, read
from data_loader.samples import END, Failure, Samples
from utils.batches import to_device
from utils.seed import fold_in, isolated_rng

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _End:
    """The last thing that a pass gives: how many samples were read, and whether the stream ended after them."""

    samples: int
    ended: bool


def take_worker() -> tuple[int, int]:
    """This worker's number and how many there are; (0, 1) in the main process.

    From here on the process passes for the main one: a dataset that asks `get_worker_info` which part is its own would
    leave out the others' samples, while every worker must read the whole stream.
    """
    info = get_worker_info()
    if info is None:
        return 0, 1
    torch_worker._worker_info = None  # torch has no public way; `get_worker_info` reads it
    return info.id, info.num_workers


class _Batches(IterableDataset[Any]):
    """The stream cut into batches, from number `start` on, and then an `_End`. Reading begins at number `first`.

    Worker w of W reads the whole stream and gives every W-th batch from `start` + w on, the order in which torch's
    DataLoader asks its workers. So the batches do not depend on the number of workers, and the other batches cost a
    worker no transforms. All of them meet an error of the stream; the worker whose turn is first tells it.
    """

    def __init__(self, samples: Samples, batch_size: int, drop_last: bool, size: int | None) -> None:
        self.samples, self.batch_size, self.drop_last, self.size = samples, batch_size, drop_last, size
        self.limit = None if size is None else -(-size // batch_size)
        if size is not None and drop_last:
            self.limit = size // batch_size
        self.pass_, self.first, self.start, self.looks_beyond = 0, 0, 0, False

    def __iter__(self) -> Iterator[Any]:
        for batch in self._read():
            samples.note_reading(())
            yield batch

    def _read(self) -> Iterator[Any]:
        worker, workers = take_worker()
        if isinstance(self.samples.dataset, FollowsPasses):
            self.samples.dataset.set_epoch(self.pass_)
        with isolated_rng(fold_in(self.samples.seed, self.pass_)):
            source = iter(self.samples.dataset)
        number = self.first
        while True:
            mine = number >= self.start and (number - self.start) % workers == worker
            if number == self.limit:
                if mine and self.looks_beyond:
                    yield self._beyond(source, number * self.batch_size)
                return
            first = number * self.batch_size
            read = self._take(source, first, self.batch_size)
            if isinstance(read, Failure):
                yield read
                return
            whole = len(read) == self.batch_size
            if mine and (whole or (read and not self.drop_last)):
                yield self._batch(read, first)
            if not whole:
                if mine:
                    yield _End(first + len(read), ended=True)
                return
            number += 1

    def _take(self, source: Iterator[Any], first: int, count: int) -> list[Any] | Failure:
        return self.samples.read(lambda _: next(source, END), self.pass_, first, range(first, first + count))

    def _beyond(self, source: Iterator[Any], first: int) -> _End:
        """Reads on to one sample more than `__len__` says. An error there is no error of the pass."""
        assert self.size is not None
        lacking = max(0, self.size - first + 1)
        read = self._take(source, first, lacking)
        if isinstance(read, Failure):
            return _End(self.size, ended=False)
        return _End(first + len(read), ended=len(read) < lacking)

    def _batch(self, samples: list[Any], first: int) -> Any:
        numbers = range(first, first + len(samples))
        batch = self.samples.finish(samples, self.pass_, first, numbers)
        if self.samples.skips and isinstance(batch, Failure) and batch.index is not None:
            return self.samples.one_by_one(lambda number: samples[number - first], self.pass_, first, numbers)
        return batch


class StreamedLoader(TrainingLoader):
    """Batches of a stream. A pass ends when the dataset ends, at the latest after `__len__` samples, rounded up to a
    whole batch; the next one restarts. Without `__len__` a pass ends where the dataset does.

    The dataset alone decides the order, and gives the same batches whatever the number of workers. If it has
    `set_epoch`, as Hugging Face's datasets do, that is called with the pass. If it has `state_dict` and
    `load_state_dict`, a resumed run continues from the saved state, unless workers read: each has a place of its own.

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
        key: str = "data.train",
        **options: Any,
    ) -> None:
        self.name, self.device, self.batch_size, self.key = samples.name, device, batch_size, key
        self._claimed = stream_length(samples.dataset)
        self.size = self._claimed
        if drop_last and self._claimed is not None:
            self.size = self._claimed - self._claimed % batch_size
        self.skipped = SkippedSamples(samples.name, max_errors)
        self.precision = SinglePrecision(samples.name, samples.places)
        self._batches = _Batches(samples, batch_size, drop_last, self._claimed)
        # Workers are started for each pass: persistent ones would not know which pass it is. Batches are told apart by
        # the order in which they come.
        options = {**options, "persistent_workers": False, "in_order": True}
        self._loader = TorchLoader(self._batches, samples.place, batch_size=None, **options)
        self.workers: int | None = self._loader.num_workers
        self._has_state = isinstance(samples.dataset, Stateful) and not self.workers
        self._beginning = samples.dataset.state_dict() if self._has_state else None
        self._kept: Mapping[str, Any] = {}
        self._at: tuple[int, int] | None = (0, 0)
        """The pass and the number of batches given; None within a batch."""
        self._before_the_look: Any = None
        """The dataset's state at the end of a pass, if it was read beyond that."""
        self._compared = self._claimed is None
        """Whether it is known that the stream has as many samples as it says, or the difference was told."""

    def __len__(self) -> int:
        """ConfigError where nobody can tell how many batches make a pass."""
        if self.size is None:
            what = f"{self.name} is read as a stream and has no length"
            hint = "set trainer.steps_per_epoch, or give its class a __len__: how many samples make a pass"
            raise ConfigError([Fault(Origin("the config"), self.key, what, hint=hint)])
        return -(-self.size // self.batch_size)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on: from a loaded state, else by reading up to it."""
        begun, first = time.monotonic(), self._go_to(pass_, start)
        number = self.skipped.number_of(pass_, start)
        stream = self._batches
        stream.pass_, stream.first, stream.start, stream.looks_beyond = pass_, first, number, not self._compared
        batches = self.skipped.filter(self._up_to_the_end(number), pass_, number)
        try:
            for given, batch in enumerate(batches, start + 1):
                self._at = pass_, given
                if given == start + 1 and number > first:
                    log.info("%s: read %d batches forward in %.1f s", self.name, number, time.monotonic() - begun)
                yield to_device(self.precision.of(batch), self.device, non_blocking=self._loader.pin_memory)
        except Interrupted:  # while reading: the dataset is somewhere within a batch
            self._at = None
            raise

    def _up_to_the_end(self, number: int) -> Iterator[Any]:
        """The batches from `number` on. Before the last one that `__len__` promises, it looks whether more follow: what
        reads them need not ask again."""
        batches = read(self._loader, self.name)
        for batch in batches:
            if isinstance(batch, _End):
                self._compare(batch)
                return
            number += 1
            if number == self._batches.limit and not self._compared:
                self._before_the_look = self._dataset_state()
                for end in batches:
                    self._compare(end)
            yield batch

    def _compare(self, end: _End) -> None:
        """Says once if `__len__` does not hold."""
        if self._compared or self._claimed is None:
            return
        self._compared = True
        if end.samples == self._claimed:
            return
        taken = f"a pass takes {'all' if end.ended and end.samples < self._claimed else self._taken(end)} of them"
        found = f"the stream ended after {end.samples:,}" if end.ended else f"the stream has {end.samples:,} or more"
        log.warning("%s: __len__ says %s samples, and %s: %s", self.name, f"{self._claimed:,}", found, taken)

    def _taken(self, end: _End) -> str:
        return f"{min(end.samples, len(self) * self.batch_size):,}"

    def _go_to(self, pass_: int, start: int) -> int:
        """Restores the dataset's loaded state if that is `start` of the pass, else its first one. Returns the number of
        the batch at which reading starts."""
        kept, self._kept, self._before_the_look = self._kept, {}, None
        there = (kept.get("pass"), kept.get("batch")) == (pass_, start)
        if self._has_state:
            self._batches.samples.dataset.load_state_dict(copy.deepcopy(kept["dataset"] if there else self._beginning))
        self._at = pass_, start
        return self.skipped.number_of(pass_, start) if there else 0

    def state_dict(self) -> dict[str, Any]:
        """Batches that were left out of the pass, and the dataset's place in the stream: not if it has no state or
        workers have read ahead."""
        state = self.skipped.state_dict()
        if not self._has_state or self._at is None:
            return state
        pass_, batch = self._at
        dataset = self._before_the_look if self._before_the_look is not None else self._dataset_state()
        return {**state, "pass": pass_, "batch": batch, "dataset": dataset}

    def _dataset_state(self) -> Any:
        return copy.deepcopy(self._batches.samples.dataset.state_dict()) if self._has_state else None

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The next call of `batches` continues from this state if it asks for this place."""
        self.skipped.load_state_dict(state)
        self._kept = state if self._has_state and "dataset" in state else {}


def stream_length(dataset: Any) -> int | None:
    """The number of samples that a stream says it has; None if it does not."""
    try:
        return len(dataset)
    except TypeError:
        return None
