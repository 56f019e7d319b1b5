"""Reads, transforms and collates samples, with random numbers that depend on their position alone."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from base.config.arguments import build
from base.config.keys import DataConfig
from base.errors import DataError, ran_out_of_memory
from base.registry import LOADERS, TRANSFORMS
from data_loader.transforms import Pipeline, SampleError, as_tensor
from utils.batches import Role, SampleKeys, with_part
from utils.seed import fold_in, isolated_rng

_slot: npt.NDArray[np.int64] | None = None
"""This worker's row of `Reading`; None in the main process."""
_PID, _FIRST, _COUNT = range(3)


class Reading:
    """Memory shared with `workers` processes: each one's process id, the first index it reads, and how many.

    It is written for every sample, so it holds plain numbers and needs no lock. A count of 0 means that the worker
    waits.
    """

    def __init__(self, workers: int) -> None:
        self._slots = torch.zeros((workers, 3), dtype=torch.int64)
        if workers:
            self._slots.share_memory_()  # type: ignore[no-untyped-call]

    def take_slot(self, worker: int) -> None:
        """In a worker, before it reads."""
        global _slot
        _slot = self._slots[worker].numpy()
        _slot[:] = os.getpid(), 0, 0

    def lost(self, patience: float = 2.0) -> list[tuple[int, int]]:
        """First index and count of each worker that died while reading. A broken pipe is noticed before the process
        has ended, so this waits up to `patience` seconds for one to end."""
        processes = multiprocessing.active_children()
        alive = [process.pid for process in processes]
        found = [(first, count) for pid, first, count in self._slots.tolist() if count and pid not in alive]
        if found or not patience:
            return found
        ended = wait([process.sentinel for process in processes], patience)
        for process in processes:
            if process.sentinel in ended:
                process.join(patience)  # its sentinel is ready an instant before it can be reaped
        return self.lost(patience=0)

    def under_way(self) -> list[tuple[int, int]]:
        """First index and count of each worker that is reading."""
        return [(first, count) for _, first, count in self._slots.tolist() if count]


def note_reading(indices: Sequence[int]) -> None:
    """Notes that this process reads `indices` from now on; none means that it waits."""
    if _slot is not None:
        _slot[_FIRST], _slot[_COUNT] = indices[0] if indices else 0, len(indices)


class InMemoryDataset(Dataset[tuple[Tensor, Any]]):
    """A dataset held as two tensors, inputs and targets, aligned on dimension 0.

    A sample's class number is an int, any other target a tensor.
    """

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def as_tensors(self) -> tuple[Tensor, Tensor]:
        """All inputs and all targets: the dataset's own memory, not a copy."""
        return self._inputs, self._targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        target = self._targets[index]
        return self._inputs[index], target if target.dim() or target.is_floating_point() else int(target)


Request = tuple[int, int, list[int]]
"""The pass, the position of a batch's first sample in it, and the indices of its samples."""

END = object()


class WorkerError(Exception):
    """The traceback of a worker process as text."""


@dataclass
class Failure:
    """What a worker sends instead of a batch: the message for the user and the error behind it."""

    message: str
    error: BaseException
    index: int | None = None
    """The sample that failed, if it was a single one."""

    def __getstate__(self) -> dict[str, Any]:
        trace = WorkerError("".join(traceback.format_exception(self.error)))  # not every exception can be pickled
        return {"message": self.message, "error": trace, "index": self.index}

    def to_raise(self) -> DataError:
        error = DataError(self.message)
        error.__cause__ = self.error
        return error


@dataclass
class Partial:
    """A batch without the samples that failed; None if all of them did."""

    batch: Any
    failures: list[Failure]


@dataclass
class Samples:
    """A map-style dataset as the DataLoader sees it: a request for a batch returns it transformed and collated.

    All randomness depends on the request alone, whichever process answers it.
    """

    dataset: Any
    name: str
    places: SampleKeys
    transform: Pipeline
    target_transform: Pipeline
    seed: int
    collate: Callable[[list[Any]], Any] = default_collate
    skips: bool = False
    """Whether failing samples are skipped."""

    def __getitems__(self, request: Request) -> Any:
        """The collated batch, or a `Failure`, or a `Partial`."""
        pass_, first, indices = request
        samples = self._read(pass_, first, indices)
        batch = samples if isinstance(samples, Failure) else self.finish(samples, pass_, first, indices)
        if self.skips and isinstance(batch, Failure) and batch.index is not None:
            batch = self.one_by_one(self.dataset.__getitem__, pass_, first, indices)
        note_reading(())
        return batch

    def _read(self, pass_: int, first: int, indices: list[int]) -> list[Any] | Failure:
        """Uses the dataset's own `__getitems__` if it has one and that succeeds, with generators seeded for the batch.
        Otherwise reads sample by sample, so that the failing one is known."""
        together = getattr(self.dataset, "__getitems__", None)
        if together is not None:
            note_reading(indices)
            with isolated_rng(fold_in(self.seed, pass_, first)):
                try:
                    samples = list(together(indices))
                    if len(samples) == len(indices):
                        return samples
                except Exception as error:
                    if ran_out_of_memory(error):
                        raise
        return self.read(self.dataset.__getitem__, pass_, first, indices)

    def one_by_one(self, take: Callable[[int], Any], pass_: int, first: int, indices: Sequence[int]) -> Partial:
        """The batch of the samples that do not fail; each equals what it would be in the whole batch."""
        good, failures = [], []
        for position, index in enumerate(indices, first):
            read = self.read(take, pass_, position, [index])
            try:
                read = read if isinstance(read, Failure) else self.transformed(read, pass_, position)
            except SampleError as failed:
                read = self._failure(failed.error, index, failed.step)
            if isinstance(read, Failure):
                failures.append(read)
            else:
                good += read
        return Partial(self._collated(good, indices) if good else None, failures)

    def read_at(self, indices: Sequence[int]) -> list[Any]:
        """Samples as the dataset gives them, without failing ones if these are skipped; else DataError."""
        samples: list[Any] = []
        for index in indices:
            read = self.read(self.dataset.__getitem__, 0, 0, [index])
            if not isinstance(read, Failure):
                samples += read
            elif not self.skips:
                raise read.to_raise()
        return samples

    def read(self, take: Callable[[int], Any], pass_: int, first: int, indices: Sequence[int]) -> list[Any] | Failure:
        """What `take` returns for each index until it returns `END`, with generators seeded for the position."""
        samples: list[Any] = []
        with isolated_rng() as reseed:
            for position, index in enumerate(indices, first):
                reseed(fold_in(self.seed, pass_, position))
                note_reading((index,))
                try:
                    sample = take(index)
                except Exception as error:
                    return self._failure(error, index)
                if sample is END:
                    break
                samples.append(sample)
        return samples

    def finish(self, samples: list[Any], pass_: int, first: int, indices: Sequence[int]) -> Any:
        """The transformed and collated batch, or a `Failure`."""
        note_reading(indices)
        try:
            samples = self.transformed(samples, pass_, first)
        except SampleError as failed:
            return self._failure(failed.error, indices[failed.offset], failed.step)
        return self._collated(samples, indices)

    def _collated(self, samples: list[Any], indices: Sequence[int]) -> Any:
        try:
            return self.collate(samples)
        except Exception as error:
            if ran_out_of_memory(error):
                raise
            some = ", ".join(map(str, indices[:3])) + ", ..." * (len(indices) > 3)
            return Failure(f"{self.name}: samples {some} do not make a batch: {words(error)}", error)

    def transformed(self, samples: list[Any], pass_: int, first: int) -> list[Any]:
        """Samples at consecutive positions, input and target transformed. Raises SampleError."""
        roles: list[tuple[Role, Pipeline]] = [("input", self.transform), ("target", self.target_transform)]
        for role, pipeline in roles:
            if pipeline.transforms and samples:
                try:
                    keys = [self.places.key_of(role, sample) for sample in samples]
                except ValueError as error:
                    raise SampleError(0, "", error) from error
                parts = [sample if key is None else sample[key] for sample, key in zip(samples, keys, strict=True)]
                parts = pipeline.on_samples(parts, pass_, first)
                samples = [with_part(*changed) for changed in zip(samples, keys, parts, strict=True)]
        return samples

    def _failure(self, error: BaseException, index: int, step: str = "") -> Failure:
        if ran_out_of_memory(error):
            raise error
        if isinstance(error, DataError):
            return Failure(str(error), error, index)
        where = ", ".join(filter(None, (self.place(index, getattr(error, "filename", None)), step)))
        return Failure(f"{self.name}: {where}: {words(error)}", error, index)

    def place(self, index: int, file: str | None = None) -> str:
        """Names a sample by its index, and by its file if that is known."""
        file = file or _file_of(self.dataset, index)
        return f"sample {index}, file {file}" if file else f"sample {index}"


def _file_of(dataset: Any, index: int) -> str | None:
    """The path of a sample, of datasets that list their `samples` as torchvision's image folders do."""
    listed = getattr(dataset, "samples", None)
    entry = listed[index] if isinstance(listed, list) and -len(listed) <= index < len(listed) else None
    return str(entry[0]) if isinstance(entry, tuple) and entry else None


def words(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def note_inputs(samples: Samples, read: list[Any]) -> dict[str, Any]:
    """Inputs before and after the transforms, as plain values; empty unless they end as tensors. `read` is a list of
    one sample.

    {"given": {"mode": "RGB"} | {"dtype": "uint8", "shape": [1, 28, 28]}, "taken": [1, 28, 28]}
    """
    try:
        given, taken = (samples.places.part("input", sample) for sample in (*read, *samples.transformed(read, 0, 0)))
    except ValueError:  # only the trainer knows where the input is
        return {}
    if not isinstance(taken, Tensor):
        return {}
    if hasattr(given, "getbands"):
        return {"given": {"mode": given.mode}, "taken": list(taken.shape)}
    tensor = as_tensor(given)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"given": {"dtype": dtype, "shape": list(tensor.shape)}, "taken": list(taken.shape)}


@LOADERS.register
class EvalTransforms:
    """The transforms of `data.transform.eval` without a dataset. `facts` holds the values that their arguments name."""

    def __init__(self, data: DataConfig, facts: Mapping[str, Any]) -> None:
        built = [build(TRANSFORMS, component, facts) for component in data.transform.eval]
        self.pipeline = Pipeline(built, seed=0)

    def __call__(self, sample: Any) -> Tensor:
        """The input (...) of one sample, as the model takes it without the batch. DataError if a transform fails."""
        try:
            given = sample if hasattr(sample, "getbands") else as_tensor(sample)
            return as_tensor(self.pipeline.on_samples([given], 0, first=0)[0])
        except SampleError as failed:
            raise DataError(f"{failed.step} fails: {words(failed.error)}") from failed.error
