"""A convenience, not a requirement: any nn.Module is welcome as a model."""

from __future__ import annotations

from torch import nn


class BaseModel(nn.Module):
    """An nn.Module whose subclasses register under their own name and print their number of parameters."""

    def extra_repr(self) -> str:
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return f"trainable parameters: {trainable:,}"
