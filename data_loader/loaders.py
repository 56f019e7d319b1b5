"""Loaders: batches from tensors in memory, and from samples read one by one. Streams have a file of their own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from base.errors import DataError, ran_out_of_memory
from base.protocols import Loader, SetFacts, TrainingLoader
from data_loader.open_datasets import DatasetSplit
from data_loader.prefetch import DevicePrefetcher, RowCopies, TorchLoader, prefetched, read
from data_loader.samplers import BatchOrder
from data_loader.samples import Partial, Request, Samples, words
from data_loader.transforms import Pipeline, SampleError
from utils.batches import Role, SampleKeys, in_single_precision, rows_of, to_device

log = logging.getLogger(__name__)


class SkippedSamples:
    """The samples of one dataset that failed; at most `most` different ones may.

    A batch of which every sample fails is left out. The loop counts the batches that it is given, and a loader those
    that it reads; `number_of` gets from one to the other, so that a resumed run goes on at the right batch.
    """

    def __init__(self, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.indices: set[int] = set()
        self._pass = 0
        self._left_out: set[int] = set()
        """Numbers of the batches of `_pass` that were left out."""

    def filter(self, batches: Iterable[Any], pass_: int, number: int) -> Iterator[Any]:
        """The batches, `number` being the first one's in the pass, without the samples that fail. Each of these is
        logged the first time. DataError if too many fail, or all of a pass."""
        if pass_ != self._pass:
            self._pass, self._left_out = pass_, set()
        given = number > 0
        for here, batch in enumerate(batches, number):
            if isinstance(batch, Partial):
                self._log(batch)
                if (batch := batch.batch) is None:
                    self._left_out.add(here)
                    continue
            given = True
            yield batch
        if not given and self._left_out:
            raise DataError(f"{self.name}: every sample fails: there is nothing to go on with")

    def number_of(self, pass_: int, given: int) -> int:
        """The number of the batch after the first `given` ones of the pass that were not left out."""
        number = 0
        while given:
            given -= pass_ != self._pass or number not in self._left_out
            number += 1
        return number

    def state_dict(self) -> dict[str, Any]:
        """Empty where no batch of the pass was left out."""
        return {"left_out": {"pass": self._pass, "batches": sorted(self._left_out)}} if self._left_out else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        left_out = state.get("left_out", {"pass": 0, "batches": ()})
        self._pass, self._left_out = left_out["pass"], set(left_out["batches"])

    def _log(self, partial: Partial) -> None:
        for failure in partial.failures:
            assert failure.index is not None
            if failure.index not in self.indices:
                self.indices.add(failure.index)
                if len(self.indices) > self.most:
                    what = f"more than data.max_errors ({self.most}) samples fail, the last of them"
                    raise DataError(f"{what}: {failure.message}") from failure.error
                log.warning("left out (%d of at most %d): %s", len(self.indices), self.most, failure.message)


class SinglePrecision:
    """Inputs and targets in float64 become float32, as weights are; one line says so."""

    def __init__(self, name: str, places: SampleKeys) -> None:
        self.name, self.places, self.told = name, places, False

    def of(self, batch: Any) -> Any:
        batch, changed = in_single_precision(batch, self.places)
        if changed and not self.told:
            log.info("%s: %ss are float64 and become float32", self.name, "s and ".join(changed))
            self.told = True
        return batch


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
        self.precision = SinglePrecision(samples.name, samples.places)
        self._requests = _Requests(batching)
        self._loader = TorchLoader(samples, samples.place, batch_sampler=self._requests, **options)
        self.workers: int | None = self._loader.num_workers

    def __len__(self) -> int:
        return len(self._requests)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        number = self.skipped.number_of(pass_, start)
        self._requests.pass_, self._requests.start = pass_, number
        for batch in self.skipped.filter(read(self._loader, self.name), pass_, number):
            yield to_device(self.precision.of(batch), self.device, non_blocking=self._loader.pin_memory)

    def state_dict(self) -> dict[str, Any]:
        """The batches that were left out of the pass under way."""
        return self.skipped.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.skipped.load_state_dict(state)


class _Requests:
    """The DataLoader's batch sampler; pass and start are set before each iteration."""

    def __init__(self, batching: BatchOrder) -> None:
        self.batching, self.pass_, self.start = batching, 0, 0

    def __len__(self) -> int:
        return len(self.batching)

    def __iter__(self) -> Iterator[Request]:
        pass_ = self.pass_
        return ((pass_, first, indices.tolist()) for first, indices in self.batching.batches(pass_, self.start))


@dataclass
class LoadedData:
    """What `standard` gives: see base.protocols.DataSets."""

    train: TrainingLoader
    valid: dict[str, Loader]
    test: dict[str, Loader]
    facts: Mapping[str, Any]
    decisions: dict[str, Any]
    split: dict[str, Tensor] = field(default_factory=dict)
    places: SampleKeys = field(default_factory=SampleKeys)
    opened: dict[str, DatasetSplit] = field(default_factory=dict)
    """By label: what the loaders read from."""
    _about: dict[str, SetFacts] = field(default_factory=dict)

    def components(self) -> dict[str, Any]:
        """See base.protocols.DataSets. What workers read changes in them alone, and a stream says itself where it
        stands."""
        found: dict[str, Any] = {}
        read = [(label, one) for label, one in self.opened.items() if one.samples is not None and not one.streamed]
        for label, one in read:
            assert one.samples is not None
            parts = {"dataset": one.dataset, "collate": one.samples.collate}
            for kind in ("transform", "target_transform"):
                steps = getattr(one.samples, kind).transforms
                parts |= {f"{kind}.{number}": step for number, step in enumerate(steps)}
            if one.loader is not None:
                parts["loader"] = one.loader
            found |= {f"data.{label}.{name}": part for name, part in parts.items()}
        return found

    def about(self) -> dict[str, SetFacts]:
        if not self._about:
            self._about = {label: one.facts(self.places) for label, one in self.opened.items()}
        return self._about
