"""Independent modules, one subject each. Names that pytorch-template has in `utils` are imported lazily."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.device import prepare_device
    from utils.template_utils import MetricTracker, inf_loop

__all__ = ["MetricTracker", "inf_loop", "prepare_device"]

_PLACES = {"MetricTracker": "template_utils", "inf_loop": "template_utils", "prepare_device": "device"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'utils' has no attribute {name!r}")
    return getattr(importlib.import_module(f"utils.{_PLACES[name]}"), name)
