"""The named losses of a batch: each is one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from base.errors import ConfigError, UserError

if TYPE_CHECKING:
    from base.config import Config

_HINT = "set reduction: mean, or end a loss of your own with .mean()"


class NotOneNumber(UserError):
    """A loss has a value for each sample or element, where one number is expected."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.what = "the loss is not a single number" if name == "loss" else f"the loss {name!r} is not a single number"
        is_tensor = isinstance(value, Tensor)
        self.found = f"a tensor of shape {tuple(value.shape)}" if is_tensor else f"a {type(value).__name__}"
        super().__init__(f"{self.what}; found {self.found}; expected one number; {_HINT}")

    def at_its_place(self, config: Config) -> ConfigError:
        """The fault at the loss of this name, or at its `reduction` if the config sets that."""
        places = (f"loss.terms.{self.name}", f"loss.{self.name}")
        place = next((place for place in places if config.written(place)), "loss")
        key = f"{place}.args.reduction" if config.written(f"{place}.args.reduction") else place
        return ConfigError([config.fault(key, self.what, self.found, "one number", _HINT)], config.source)


def one_number_each(terms: Mapping[str, Any]) -> dict[str, Tensor]:
    """The terms as tensors without dimensions. Takes tensors of one element and plain numbers; NotOneNumber names
    anything else."""
    device = next((value.device for value in terms.values() if isinstance(value, Tensor)), None)
    return {name: _one_number(name, value, device) for name, value in terms.items()}


def _one_number(name: str, value: Any, device: torch.device | None) -> Tensor:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(()) if value.dim() else value
    if isinstance(value, int | float):
        return torch.tensor(float(value), device=device)
    raise NotOneNumber(name, value)
