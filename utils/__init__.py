"""Leaves: one file, one subject. What pytorch-template has here is imported when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from utils.device import prepare_device
    from utils.endless import inf_loop
    from utils.metric_tracker import MetricTracker

__all__ = ["MetricTracker", "inf_loop", "prepare_device"]

_PLACES = {"MetricTracker": "metric_tracker", "inf_loop": "endless", "prepare_device": "device"}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'utils' has no attribute {name!r}")
    return getattr(importlib.import_module(f"utils.{_PLACES[name]}"), name)
