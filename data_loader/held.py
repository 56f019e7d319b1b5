"""Data sets that are held as tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils.data import Dataset


class Held(Dataset[tuple[Tensor, Any]]):
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
