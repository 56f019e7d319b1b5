"""The metrics of a phase, fed in blocks of batches where that changes nothing but the time it takes."""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from base.base_metric import values_of

BATCHES, NUMBERS = 64, 1 << 16
"""A block ends with its 64th batch or when its outputs hold so many numbers: both are known from the batches alone,
so that a resumed run, which is given back the block it had begun, feeds the same ones."""


class Measures(UserDict[str, Any]):
    """Metrics by name. A small batch costs a metric as much as a large one: some 20 us an operation on the CPU.

    Those that score sample by sample, and torchmetrics, are given many batches as one; any other each batch at once.
    """

    def __init__(self, metrics: Mapping[str, Any]) -> None:
        super().__init__(metrics)
        self._block: list[tuple[Tensor, Tensor]] = []
        self._form: object = None
        self._numbers = 0

    def feed(self, output: Any, target: Any) -> None:
        """Takes in one batch, detached from the graph."""
        waits = False
        for metric in self.data.values():
            if getattr(metric, "in_blocks", False) and isinstance(output, Tensor) and isinstance(target, Tensor):
                waits = True
            else:
                metric.update(output, target)
        if waits:
            self._wait(output, target)

    def _wait(self, output: Tensor, target: Tensor) -> None:
        form = (output.shape[1:], target.shape[1:], output.dtype, target.dtype)
        if form != self._form:
            self._end_block()
            self._form = form
        self._numbers += output.numel()
        if len(self._block) + 1 == BATCHES or self._numbers >= NUMBERS:
            self._block.append((output, target))
            self._end_block()
        else:  # a copy: an output may be a view of a parameter, a target the memory of the next batch
            self._block.append((output.clone(), target.clone()))

    def _end_block(self) -> None:
        if self._block:
            outputs, targets = (torch.cat(tensors) for tensors in zip(*self._block, strict=True))
            for metric in self.data.values():
                if getattr(metric, "in_blocks", False):
                    metric.update(outputs, targets)
        self._block, self._numbers = [], 0

    def reset(self) -> None:
        self._block, self._numbers = [], 0
        for metric in self.data.values():
            metric.reset()

    def compute(self) -> dict[str, float]:
        """The value of each, several of those that have several. Waits for the device."""
        self._end_block()
        return values_of(self.data)

    def state_dict(self) -> dict[str, Any]:
        metrics = {name: metric.state_dict() for name, metric in self.data.items()}
        return {"metrics": metrics, "block": [list(pair) for pair in self._block]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, metric in self.data.items():
            metric.load_state_dict(state["metrics"][name])
        self._block, self._numbers = [], 0
        for output, target in state["block"]:
            self._wait(output, target)
