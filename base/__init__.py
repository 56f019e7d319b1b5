"""The public API, imported lazily: `from base import Config` does not import torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from base.config import Config
    from base.errors import CheckpointError, ConfigError, UserError
    from base.evaluation.evaluate import evaluate
    from base.evaluation.predict import predict
    from base.legacy.base_classes import BaseDataLoader, BaseModel
    from base.loop.base_trainer import BaseTrainer
    from base.loop.callback import Callback
    from base.loop.counts import Ratio
    from base.loop.metrics import Metric
    from base.registry import (
        CALLBACKS,
        DATASETS,
        FUNCTIONS,
        LOADERS,
        LOSSES,
        METRICS,
        MODELS,
        OPTIMIZERS,
        SAMPLERS,
        SCHEDULERS,
        TRAINERS,
        TRANSFORMS,
        WRITERS,
        Registry,
    )
    from base.run import Run, fit

_PLACES = {
    "base.config": "Config",
    "base.errors": "CheckpointError ConfigError UserError",
    "base.evaluation.evaluate": "evaluate",
    "base.evaluation.predict": "predict",
    "base.legacy.base_classes": "BaseDataLoader BaseModel",
    "base.loop.base_trainer": "BaseTrainer",
    "base.loop.callback": "Callback",
    "base.loop.counts": "Ratio",
    "base.loop.metrics": "Metric",
    "base.run": "Run fit",
}
"""By module; all other names are those of base.registry."""

__all__ = [
    "CALLBACKS",
    "DATASETS",
    "FUNCTIONS",
    "LOADERS",
    "LOSSES",
    "METRICS",
    "MODELS",
    "OPTIMIZERS",
    "SAMPLERS",
    "SCHEDULERS",
    "TRAINERS",
    "TRANSFORMS",
    "WRITERS",
    "BaseDataLoader",
    "BaseModel",
    "BaseTrainer",
    "Callback",
    "CheckpointError",
    "Config",
    "ConfigError",
    "Metric",
    "Ratio",
    "Registry",
    "Run",
    "UserError",
    "evaluate",
    "fit",
    "predict",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'base' has no attribute {name!r}")
    place = next((module for module, names in _PLACES.items() if name in names.split()), "base.registry")
    return getattr(importlib.import_module(place), name)
