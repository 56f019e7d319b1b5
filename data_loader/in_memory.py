"""Batches of data that is held as tensors: indexed, moved and transformed a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from base.errors import DataError, ran_out_of_memory
from data_loader.ordering import Batching
from data_loader.pipeline import Pipeline, SampleError
from data_loader.sample_parts import Places
from data_loader.samples import words


class InMemoryLoader:
    """`tensors` are aligned on dimension 0; a batch is the list of their rows, as torch's DataLoader makes it.

    Rows reach `device` in the type they are held in; there the transforms treat input and target at their `places`.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        name: str,
        batching: Batching,
        places: Places,
        transform: Pipeline,
        target_transform: Pipeline,
        device: torch.device,
        pin_memory: bool = False,
    ) -> None:
        self.tensors, self.name, self.batching = tensors, name, batching
        self.device, self.pin_memory = device, pin_memory
        self.size, self.batch_size = batching.size, batching.batch_size
        stages = ((places.of_input, transform), (places.of_target, target_transform))
        self._stages = [(place_in(tensors), pipeline) for place_in, pipeline in stages if pipeline.transforms]

    def __len__(self) -> int:
        return len(self.batching)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on."""
        for first, indices in self.batching.batches(pass_, start):
            batch = [self._rows(tensor, indices) for tensor in self.tensors]
            positions = np.arange(first, first + len(indices))
            for place, pipeline in self._stages:
                try:
                    batch[place] = pipeline.on_batch(batch[place], pass_, positions)
                except SampleError as failed:
                    if ran_out_of_memory(failed.error):
                        raise failed.error from None
                    raise DataError(f"{self.name}: {failed.step}: {words(failed.error)}") from failed.error
            yield batch

    def _rows(self, tensor: Tensor, indices: Tensor) -> Tensor:
        rows = tensor.index_select(0, indices)
        if self.pin_memory:
            return rows.pin_memory().to(self.device, non_blocking=True)
        return rows.to(self.device)
