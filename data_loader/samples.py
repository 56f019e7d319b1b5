"""Reads, seeds, transforms and collates samples, and knows where their input and target are."""

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
from utils.seed import fold_in, isolated_rng

_slot: npt.NDArray[np.int64] | None = None
"""Of this worker; None in the main process."""
_PID, _FIRST, _COUNT = range(3)


class Reading:
    """Memory shared with `workers` processes: the process id of each, the first index it works on, and how many.

    It is written for every sample, so it holds numbers and takes no lock. A count of 0: the worker waits.
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
        """First index and count of each worker that died at work. A broken pipe is seen before its process has ended,
        so the end of one is waited for, `patience` seconds at most."""
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
        """First index and count of each worker that is at work."""
        return [(first, count) for _, first, count in self._slots.tolist() if count]


def note_reading(indices: Sequence[int]) -> None:
    """This process works on `indices` from now on; on none: it waits."""
    if _slot is not None:
        _slot[_FIRST], _slot[_COUNT] = indices[0] if indices else 0, len(indices)


class InMemoryDataset(Dataset[tuple[Tensor, Any]]):
    """Inputs and targets, aligned on dimension 0. A class number is given as an int, any other target as a tensor."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        self._inputs, self._targets = inputs, targets

    def as_tensors(self) -> tuple[Tensor, Tensor]:
        """All inputs and all targets; the set's own memory, not a copy."""
        return self._inputs, self._targets

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        target = self._targets[index]
        return self._inputs[index], target if target.dim() or target.is_floating_point() else int(target)


Key = str | int | None


@dataclass(frozen=True)
class SampleKeys:
    """`data.keys`: the named entries of a mapping; of a tuple the first and the second element, or those numbered.

    A sample that is neither is the input itself.
    """

    input: Key = None
    target: Key = None

    def of_input(self, sample: Any) -> Any:
        """The index of the input in the sample, None if the sample is it. ValueError if there is no such part."""
        return _place(sample, self.input, 0, "input")

    def of_target(self, sample: Any) -> Any:
        return _place(sample, self.target, 1, "target")


def _place(sample: Any, key: Key, default: int, role: str) -> Key:
    if isinstance(sample, Mapping):
        if key not in sample:
            keys = ", ".join(map(str, sample))
            raise ValueError(f"data.keys.{role}: expected one of the sample's keys ({keys}), found {key or 'none'}")
        return key
    if isinstance(sample, tuple | list):
        index = default if key is None else key
        if not isinstance(index, int) or not -len(sample) <= index < len(sample):
            raise ValueError(
                f"data.keys.{role}: expected a number below {len(sample)}, the sample's size, found {index}"
            )
        return index
    if role == "target":
        raise ValueError(f"a sample has no target: it is a single {type(sample).__name__}")
    return None


def get_part(sample: Any, place: Any) -> Any:
    return sample if place is None else sample[place]


def with_part(sample: Any, place: Any, value: Any) -> Any:
    """A copy of the sample with `value` at `place`. A mapping becomes a dict."""
    if place is None:
        return value
    if isinstance(sample, Mapping):
        return {**sample, place: value}
    parts = list(sample)
    parts[place] = value
    if isinstance(sample, tuple):
        return type(sample)(*parts) if hasattr(sample, "_fields") else tuple(parts)
    return parts


Request = tuple[int, int, list[int]]
"""The pass, the position of a batch's first sample in it, and the indices of its samples."""

END = object()


class WorkerError(Exception):
    """The traceback of a worker process, as text."""


@dataclass
class Failure:
    """What a worker sends in place of a batch: the words for the user and the error behind them."""

    message: str
    error: BaseException
    index: int | None = None
    """Of the one sample that failed."""

    def __getstate__(self) -> dict[str, Any]:
        trace = WorkerError("".join(traceback.format_exception(self.error)))  # not every exception survives the way
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
    """A map-style dataset as the DataLoader sees it: asked for a batch, it gives it transformed and collated.

    All randomness follows from the request, whichever process answers it.
    """

    dataset: Any
    name: str
    places: SampleKeys
    transform: Pipeline
    target_transform: Pipeline
    seed: int
    collate: Callable[[list[Any]], Any] = default_collate
    skips: bool = False
    """Leave out samples that fail."""

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
        """Through the dataset's own `__getitems__`, if it has one that succeeds: then under generators seeded for the
        batch. Else one sample after another, so that the one that fails is known."""
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
        """The batch of those samples that do not fail; each as it would have been beside the others."""
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
        """Samples as the dataset gives them; without those that fail, if they are to be left out. Raises DataError."""
        samples: list[Any] = []
        for index in indices:
            read = self.read(self.dataset.__getitem__, 0, 0, [index])
            if not isinstance(read, Failure):
                samples += read
            elif not self.skips:
                raise read.to_raise()
        return samples

    def read(self, take: Callable[[int], Any], pass_: int, first: int, indices: Sequence[int]) -> list[Any] | Failure:
        """What `take` gives for each index, under generators seeded for its position; up to where it gives `END`."""
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
        samples = _transformed(samples, self.transform, self.places.of_input, pass_, first)
        return _transformed(samples, self.target_transform, self.places.of_target, pass_, first)

    def _failure(self, error: BaseException, index: int, step: str = "") -> Failure:
        if ran_out_of_memory(error):
            raise error
        if isinstance(error, DataError):
            return Failure(str(error), error, index)
        where = ", ".join(filter(None, (self.place(index, getattr(error, "filename", None)), step)))
        return Failure(f"{self.name}: {where}: {words(error)}", error, index)

    def place(self, index: int, file: str | None = None) -> str:
        """A sample by its index, and by its file if that is known."""
        file = file or _file_of(self.dataset, index)
        return f"sample {index}, file {file}" if file else f"sample {index}"


def _transformed(
    samples: list[Any], pipeline: Pipeline, place_in: Callable[[Any], Any], pass_: int, first: int
) -> list[Any]:
    if not pipeline.transforms or not samples:
        return samples
    try:
        places = [place_in(sample) for sample in samples]
    except ValueError as error:
        raise SampleError(0, "", error) from error
    parts = [get_part(sample, place) for sample, place in zip(samples, places, strict=True)]
    parts = pipeline.on_samples(parts, pass_, first)
    return [with_part(*changed) for changed in zip(samples, places, parts, strict=True)]


def _file_of(dataset: Any, index: int) -> str | None:
    """The path of a sample, of datasets that list their `samples` as torchvision's image folders do."""
    listed = getattr(dataset, "samples", None)
    entry = listed[index] if isinstance(listed, list) and -len(listed) <= index < len(listed) else None
    return str(entry[0]) if isinstance(entry, tuple) and entry else None


def words(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def note_inputs(samples: Samples, read: list[Any]) -> dict[str, Any]:
    """What inputs are before and after the transforms, as plain values; empty if they end as no tensor. `read` is a
    list of one sample.

    {"given": {"mode": "RGB"} | {"dtype": "uint8", "shape": [1, 28, 28]}, "taken": [1, 28, 28]}
    """
    try:
        given, taken = (_input_of(samples.places, sample) for sample in (*read, *samples.transformed(read, 0, 0)))
    except ValueError:  # where the input is, only the trainer knows
        return {}
    if not isinstance(taken, Tensor):
        return {}
    if hasattr(given, "getbands"):
        return {"given": {"mode": given.mode}, "taken": list(taken.shape)}
    tensor = as_tensor(given)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"given": {"dtype": dtype, "shape": list(tensor.shape)}, "taken": list(taken.shape)}


def _input_of(places: SampleKeys, sample: Any) -> Any:
    return get_part(sample, places.of_input(sample))


@LOADERS.register
class EvalTransforms:
    """The transforms of `data.transform.eval` without a dataset. `facts` are those that their arguments name."""

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
