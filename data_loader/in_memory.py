"""Batches of data that is held as tensors: indexed and transformed a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from base.errors import DataError, ran_out_of_memory
from base.protocols import TrainingLoader
from data_loader.ordering import Batching
from data_loader.pipeline import Pipeline, SampleError
from data_loader.placement import Copies, DeviceCopies, copied_ahead
from data_loader.sample_parts import Places
from data_loader.samples import words


class InMemoryLoader(TrainingLoader):
    """`tensors` are aligned on dimension 0; a batch is the list of their rows, as torch's DataLoader makes it.

    Rows reach `device` in the type they are held in: they are gathered there if the tensors lie there, else copied, one
    batch ahead, by `copies`. There the transforms treat input and target at their `places`.
    """

    workers: int | None = None

    def __init__(
        self,
        tensors: Sequence[Tensor],
        name: str,
        batching: Batching,
        places: Places,
        transform: Pipeline,
        target_transform: Pipeline,
        device: torch.device,
        copies: Copies | None = None,
    ) -> None:
        self.tensors, self.name, self.batching = tensors, name, batching
        self.size, self.batch_size = batching.size, batching.batch_size
        stages = ((places.of_input, transform), (places.of_target, target_transform))
        self._stages = [(place_in(tensors), pipeline) for place_in, pipeline in stages if pipeline.transforms]
        lies_there = all(tensor.device.type == device.type for tensor in tensors)
        self._copies = copies if copies or lies_there else DeviceCopies(device)

    def __len__(self) -> int:
        return len(self.batching)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        for first, batch in self._rows(pass_, start):
            for place, pipeline in self._stages:
                try:
                    batch[place] = pipeline.on_batch(batch[place], pass_, first)
                except SampleError as failed:
                    if ran_out_of_memory(failed.error):
                        raise failed.error from None
                    raise DataError(f"{self.name}: {failed.step}: {words(failed.error)}") from failed.error
            yield batch

    def _rows(self, pass_: int, start: int) -> Iterator[tuple[int, list[Tensor]]]:
        """The position of each batch's first sample, and copies of its rows, which a transform may write to."""
        tensors = self.tensors
        if self._copies is not None:
            yield from copied_ahead(tensors, self.batching.batches(pass_, start), self._copies)
        else:
            for first, indices in self.batching.batches(pass_, start, tensors[0].device):
                yield first, [tensor.index_select(0, indices) for tensor in tensors]
