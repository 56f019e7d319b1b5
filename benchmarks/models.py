"""The models that the contestants share. Two are the benchmark's own, and the project loads them with --plugin."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from base.registry import MODELS


def build(component: dict[str, Any]) -> nn.Module:
    model: nn.Module = MODELS.get(component["type"])(**component.get("args", {}))
    return model


@MODELS.register
class TenByTen(nn.Linear):
    """A minimal model, with which everything but the model is measured."""

    def __init__(self) -> None:
        super().__init__(10, 10)


@MODELS.register
class Heavy(nn.Module):
    """`megabytes` of parameters that need almost no computation: 16 tables, of which one row each is used."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        rows = megabytes * 1_000_000 // (16 * 10 * 4)
        self.tables = nn.ParameterList(torch.zeros(rows, 10) for _ in range(16))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 10) -> (B, 10)"""
        return x + torch.stack([table[0] for table in self.tables]).sum(0)
