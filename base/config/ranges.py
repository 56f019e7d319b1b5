"""Ranges that the classes of torch and torchvision mean and, at construction, do not all ask for.

A class of one's own says the same by an annotation: `dropout: Annotated[float, Interval(ge=0, le=1)]`, with the package
annotated_types.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Any, Literal, get_origin

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
        "lr": Ge(0),
        "momentum": Ge(0),
        "weight_decay": Ge(0),
    },
    "torch.nn": {
        "label_smoothing": _SHARE,
        "reduction": Literal["mean", "sum", "none", "batchmean"],
    },
    "torchvision.models": {"dropout": _SHARE, "num_classes": Ge(1)},
    "torchvision.transforms": {"p": _SHARE},
}
"""By module and parameter, the first module that fits; a whole annotation where torch's own says too little."""


def with_range(parameter: Parameter, target: Any, annotation: Any) -> Any:
    """`annotation`, with the range of this parameter if there is one."""
    module = str(getattr(target, "__module__", ""))
    for prefix, ranges in RANGES.items():
        if module.startswith(prefix):
            known = ranges.get(parameter.name)
            if known is None:
                return annotation
            return Annotated[annotation, known] if get_origin(known) is None else known
    return annotation
