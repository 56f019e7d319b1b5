"""Samples read one by one: seeded, transformed, collated, and what goes wrong told in one line."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import default_collate

from base.errors import DataError, ran_out_of_memory
from data_loader import reading
from data_loader.pipeline import Pipeline, SampleError
from data_loader.sample_parts import Places, get_part, with_part
from utils.seed import derive, foreign

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
    """A map-style data set as the DataLoader sees it: asked for a batch, it gives it transformed and collated.

    All randomness follows from the request, whichever process answers it.
    """

    dataset: Any
    name: str
    places: Places
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
        reading.begin(())
        return batch

    def _read(self, pass_: int, first: int, indices: list[int]) -> list[Any] | Failure:
        """Through the data set's own `__getitems__`, if it has one that succeeds: then under generators seeded for the
        batch. Else one sample after another, so that the one that fails is known."""
        together = getattr(self.dataset, "__getitems__", None)
        if together is not None:
            reading.begin(indices)
            with foreign(derive(self.seed, pass_, first)):
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
        """Samples as the data set gives them; without those that fail, if they are to be left out. Raises DataError."""
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
        with foreign() as reseed:
            for position, index in enumerate(indices, first):
                reseed(derive(self.seed, pass_, position))
                reading.begin((index,))
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
        reading.begin(indices)
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
    """The path of a sample, of data sets that list their `samples` as torchvision's image folders do."""
    listed = getattr(dataset, "samples", None)
    entry = listed[index] if isinstance(listed, list) and -len(listed) <= index < len(listed) else None
    return str(entry[0]) if isinstance(entry, tuple) and entry else None


def words(error: BaseException) -> str:
    """The error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
