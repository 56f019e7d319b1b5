"""Finds losses of the user's own that broadcast outputs against targets, each output compared with every target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from base.errors import ConfigError
from utils.batches import parts_of

if TYPE_CHECKING:
    from base.config import Config
    from base.loop.base_trainer import BaseTrainer

Role = Literal["output", "target"]
_PAIRS = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "soft_margin_loss", "kl_div"}
_REDUCING = {getattr(functional, name) for name in _PAIRS}
"""Functions that broadcast before they take a mean; of any other the result has the shape that gives it away."""


@contextmanager
def refusing_broadcasts(config: Config, trainer: BaseTrainer) -> Iterator[None]:
    """Watches the `compute_loss` of a trainer. ConfigError where it broadcasts."""
    compute: Any = trainer.compute_loss  # type: ignore[attr-defined]
    key = "loss" if compute.__module__ == "trainer.supervised" else "trainer.type"

    def watched(output: Any, target: Any, *args: Any, **kwargs: Any) -> Any:
        with Broadcasts(output, target) as seen:
            loss = compute(output, target, *args, **kwargs)
        if seen.found is not None:
            raise _error(config, key, *seen.found)
        return loss

    vars(trainer)["compute_loss"] = watched
    try:
        yield
    finally:
        del vars(trainer)["compute_loss"]


def _error(config: Config, key: str, output: Tensor, target: Tensor) -> ConfigError:
    spread = tuple(_spread(output, target))
    shapes = f"outputs of shape {tuple(output.shape)} and targets of {tuple(target.shape)} make {spread}"
    outputs_wider = output.dim() > target.dim()
    column, row = ("outputs", "targets") if outputs_wider else ("targets", "outputs")
    dim = _missing_dimension(output, target) if outputs_wider else _missing_dimension(target, output)
    hint = f"bring both to one shape: .squeeze({dim}) on the {column}, or .unsqueeze({dim}) on the {row}"
    return config.error(key, "the loss compares each output with every target", shapes, "equal shapes", hint)


class Broadcasts(TorchFunctionMode):
    """Follows what is computed from an output alone and from a target alone, until an operation takes one of each in
    shapes like (B, 1) and (B,), and gives (B, B). Only shapes that the loss was given are looked for: one that makes
    pairs on purpose brings its tensors into such shapes itself.
    """

    def __init__(self, output: Any, target: Any) -> None:
        super().__init__()
        self.found: tuple[Tensor, Tensor] | None = None
        self._roles: dict[int, Role | None] = {}
        self._kept: list[Tensor] = []  # or an id might be given away again
        self._given: dict[Role, set[tuple[int, ...]]] = {"output": set(), "target": set()}
        given: dict[Role, Any] = {"output": output, "target": target}
        for role, value in given.items():
            for tensor in _tensors(value):
                self._note(tensor, role)
                self._given[role].add(tuple(tensor.shape))

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if isinstance(result, Tensor) and self.found is None:
            taken = list(_tensors([args, kwargs]))
            roles = {self._roles[id(tensor)] for tensor in taken if id(tensor) in self._roles}
            if roles == {"output", "target"}:
                self._look(taken, None if function in _REDUCING else result)
            if roles and id(result) not in self._roles:
                self._note(result, roles.pop() if len(roles) == 1 else None)
        return result

    def _note(self, tensor: Tensor, role: Role | None) -> None:
        self._roles[id(tensor)] = role
        self._kept.append(tensor)

    def _look(self, taken: list[Tensor], result: Tensor | None) -> None:
        named = {self._roles.get(id(tensor)): tensor for tensor in taken}
        output, target = named["output"], named["target"]
        if not output.is_floating_point() or tuple(output.shape) not in self._given["output"]:
            return
        if tuple(target.shape) not in self._given["target"]:
            return
        wide, narrow = sorted((output, target), key=Tensor.dim, reverse=True)
        if _missing_dimension(wide, narrow) is None:
            return
        spread = _spread(wide, narrow)
        if spread.numel() > wide.numel() and (result is None or result.shape == spread):
            self.found = output, target


def _spread(one: Tensor, other: Tensor) -> torch.Size:
    shape: torch.Size = torch.broadcast_shapes(one.shape, other.shape)  # type: ignore[no-untyped-call]
    return shape


def _missing_dimension(wide: Tensor, narrow: Tensor) -> int | None:
    """Where `wide` has a 1 that `narrow` lacks."""
    shape = tuple(wide.shape)
    places = (i for i in range(1, len(shape)) if shape[i] == 1 and shape[:i] + shape[i + 1 :] == tuple(narrow.shape))
    return next(places, None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | tuple | list) or parts_of(value):
        for part in parts_of(value):
            yield from _tensors(part)
