"""Refuses what no step could do: optimizers that need a closure, sparse gradients, kernels that do not exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from base.errors import listing
from base.loop.optim import Learning
from utils.library_components import needs_closure

if TYPE_CHECKING:
    from base.config.keys import OptimizerConfig

_TAKE_SPARSE = {"SGD", "Adagrad", "SparseAdam"}
"""Of torch.optim; its others take dense gradients only, and SparseAdam takes sparse ones only."""


def not_fusable(parameters: Learning, args: Mapping[str, Any]) -> str:
    """Why an optimizer of these parameters, with these arguments, has no fused kernel; empty if it has one."""
    for name in ("foreach", "differentiable"):
        if args.get(name):
            return f"{name} is set"
    for parameter, (name, *_) in parameters.items():
        if not parameter.is_floating_point():
            return f"{name} is {str(parameter.dtype).removeprefix('torch.')}"
        if parameter.device.type not in _get_fused_kernels_supported_devices():
            return f"{name} is on {parameter.device}"
    return next((f"the gradients of {name} are sparse" for name in _sparse(parameters)), "")


def unusable(kind: Any, component: OptimizerConfig, parameters: Learning, own_steps: bool) -> Iterator[tuple[str, ...]]:
    """What a step of this optimizer would fail on: the key of the component, what, found, expected, and the fix.
    `own_steps` is true if the trainer's own code calls the optimizer."""
    name, sparse = getattr(kind, "__name__", ""), _sparse(parameters)
    if needs_closure(kind) and not own_steps:
        what = f"{name} needs a closure, which computes the loss several times in a step"
        fix = "use another optimizer, such as AdamW or SGD, or a trainer with an optimizer_step of its own"
        yield "type", what, "step(closure)", "an optimizer with step()", fix
    if component.fused and (obstacle := not_fusable(parameters, component.args)):
        yield "fused", f"there is no fused kernel: {obstacle}", "", "", "write fused: false"
    if not getattr(kind, "__module__", "").startswith("torch.optim"):
        return
    found = f"{listing(sparse, 'and', most=3)} with sparse=True"
    if sparse and name not in _TAKE_SPARSE:
        fix = f"use {listing(sorted(_TAKE_SPARSE))}, or an embedding without sparse=True"
        yield "type", f"{name} takes no sparse gradients", found, "", fix
    elif sparse and (dense_only := [arg for arg in ("momentum", "weight_decay") if component.args.get(arg)]):
        which = listing(dense_only, "and")
        fix = f"set {which} to 0, or make the embedding without sparse=True"
        yield "type", f"{name} with {which} takes no sparse gradients", found, "", fix
    dense = [full for full, *_ in parameters.values() if full not in sparse]
    if dense and name == "SparseAdam":
        fix = "use SGD or Adagrad, or choose with optimizer.params what SparseAdam learns"
        yield "type", "SparseAdam takes only sparse gradients", listing(dense, "and", most=3), "", fix


def impossible(parameters: Learning, clip_value: float | None, precision: str) -> Iterator[tuple[str, ...]]:
    """Settings of the trainer that torch does not have for these parameters: the key, what, found and expected."""
    complex_ones = [name for parameter, (name, *_) in parameters.items() if parameter.is_complex()]
    if clip_value and (odd := [*complex_ones, *_sparse(parameters)]):
        found = f"{listing(odd, 'and', most=3)}, complex or with sparse gradients"
        yield "trainer.clip.value", "not possible for every parameter", found, "trainer.clip.norm"
    if precision == "fp16" and complex_ones:
        found = f"{listing(complex_ones, 'and', most=3)}, complex"
        yield "trainer.precision", "fp16 cannot scale complex gradients", found, "bf16 or fp32"


def _sparse(parameters: Learning) -> list[str]:
    """The names of those whose gradients are sparse: weights of embeddings made with `sparse=True`."""
    return [
        full
        for full, model, name in parameters.values()
        if getattr(model.get_submodule(name.rpartition(".")[0]), "sparse", False) is True
    ]
