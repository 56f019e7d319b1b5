"""What optimizers ask of their caller and of their parameters, known before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch.utils._foreach_utils import _get_fused_kernels_supported_devices

from base.adopted import needs_closure
from base.errors import listing
from base.param_groups import Learning

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


def unusable(
    kind: Any, args: Mapping[str, Any], parameters: Learning, trainer_steps: bool
) -> tuple[str, str, str, str] | None:
    """What a step of this optimizer would fail on: what, found, expected and the mend, as a fault has them.
    `trainer_steps` is true if the trainer's own code calls the optimizer."""
    name = getattr(kind, "__name__", "")
    if needs_closure(kind) and not trainer_steps:
        what = f"{name} needs a closure, which computes the loss several times in a step"
        mend = "use another optimizer, such as AdamW or SGD, or a trainer with an optimizer_step of its own"
        return what, "step(closure)", "an optimizer with step()", mend
    if not getattr(kind, "__module__", "").startswith("torch.optim"):
        return None
    sparse = _sparse(parameters)
    dense = [full for full, *_ in parameters.values() if full not in sparse]
    if sparse and name not in _TAKE_SPARSE:
        mend = f"use {listing(sorted(_TAKE_SPARSE))}, or an embedding without sparse=True"
        return f"{name} takes no sparse gradients", f"{listing(sparse, 'and', most=3)} with sparse=True", "", mend
    if sparse and (dense_only := [arg for arg in ("momentum", "weight_decay") if args.get(arg)]):
        mend = f"set {listing(dense_only, 'and')} to 0, or make the embedding without sparse=True"
        found = f"{listing(sparse, 'and', most=3)} with sparse=True"
        return f"{name} with {listing(dense_only, 'and')} takes no sparse gradients", found, "", mend
    if dense and name == "SparseAdam":
        mend = "use SGD or Adagrad, or choose with optimizer.params what SparseAdam learns"
        return "SparseAdam takes only sparse gradients", f"{listing(dense, 'and', most=3)}", "", mend
    return None


def _sparse(parameters: Learning) -> list[str]:
    """The names of those whose gradients are sparse: weights of embeddings made with `sparse=True`."""
    return [
        full
        for full, model, name in parameters.values()
        if getattr(model.get_submodule(name.rpartition(".")[0]), "sparse", False) is True
    ]
