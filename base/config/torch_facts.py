"""Facts about classes of torch and torchvision that their signatures do not give.

Your own class declares ranges in its annotations: `dropout: Annotated[float, Interval(ge=0, le=1)]`, with the
package annotated_types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Interval

_SHARE = Interval(ge=0, le=1)
_PART = Interval(gt=0, le=1)
RANGES: dict[str, dict[str, Any]] = {
    "torch.optim.lr_scheduler": {
        "T_0": Ge(1),
        "T_max": Ge(1),
        "T_mult": Ge(1),
        "base_lr": Ge(0),
        "cooldown": Ge(0),
        "div_factor": Gt(0),
        "end_factor": _SHARE,
        "eta_min": Ge(0),
        "factor": Gt(0),
        "final_div_factor": Gt(0),
        "gamma": Gt(0),
        "max_lr": Gt(0),
        "lr_lambda": Callable[..., Any],
        "milestones": list[Annotated[int, Ge(1)]],
        "min_lr": Ge(0),
        "patience": Ge(0),
        "pct_start": _SHARE,
        "power": Gt(0),
        "start_factor": _PART,
        "step_size": Ge(1),
        "threshold": Ge(0),
        "total_iters": Ge(1),
        "total_steps": Ge(1),
    },
    "torch.optim": {
        "alpha": Ge(0),
        "betas": Interval(ge=0, lt=1),
        "lr": Annotated[float, Ge(0)],
        "momentum": Ge(0),
        "weight_decay": Ge(0),
    },
    "torch.nn": {
        "label_smoothing": Interval(ge=0, lt=1),
        "reduction": Literal["mean", "sum", "none", "batchmean"],
    },
    "torchvision.models": {"dropout": _SHARE, "num_classes": Ge(1)},
    "torchvision.transforms": {"p": _SHARE},
}
"""Ranges that construction does not always check, by module (the first that fits) and parameter; a whole annotation
where torch's own says too little.
"""
FUSED = {"Adam", "AdamW"}
"""Optimizers that are faster fused on every device: on a CPU 0.56 against 2.1 ms for 670,000 parameters."""
FUSED_ON_ACCELERATORS = FUSED | {"SGD", "Adagrad"}
"""On a CPU these gain nothing, and other bits; on an accelerator a fused one can leave out an update by itself."""
ONE_RATE = {"OneCycleLR": ("base_lr", "max_lr"), "CyclicLR": ("base_lr", "max_lr")}
"""Arguments of schedules that set one learning rate for all parameter groups, unless they are lists."""
PER_STEP = {"OneCycleLR", "CyclicLR"}
"""Schedules that step after every optimizer step."""
LENGTHS = {
    "CosineAnnealingLR": "T_max",
    "OneCycleLR": "total_steps",
    "StepLR": "step_size",
    "ConstantLR": "total_iters",
    "LinearLR": "total_iters",
    "PolynomialLR": "total_iters",
}
"""The argument of a schedule that says how long it lasts, or for StepLR when it first acts."""

COUNTED = (*dict.fromkeys(LENGTHS.values()), "T_0", "step_size_up", "step_size_down")
"""Arguments of schedules that count epochs or steps, as the schedule itself does."""
UNITS = {"${trainer.epochs}": "epoch", "${trainer.total_steps}": "step", "${trainer.steps_per_epoch}": "step"}
"""What the facts of the training count."""
GROWTH = {"StepLR": "gamma", "MultiStepLR": "gamma", "ExponentialLR": "gamma"}
"""The factor by which a schedule lowers the rate each time."""


def usual_unit(type_: str) -> str:
    """When a schedule steps if the config does not say: `step`, `epoch` or `monitor`."""
    return "step" if type_ in PER_STEP else "monitor" if type_ == "ReduceLROnPlateau" else "epoch"
