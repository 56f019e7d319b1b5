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
    "Callback": "base.loop.callback",
    "Metric": "base.loop.metrics",
    "BaseDataLoader": "base.legacy.base_classes",
    "BaseModel": "base.legacy.base_classes",
    "BaseTrainer": "base.loop.base_trainer",
    "Config": "base.config",
    "CheckpointError": "base.errors",
    "ConfigError": "base.errors",
    "UserError": "base.errors",
    "Run": "base.run",
    "evaluate": "base.evaluation.evaluate",
    "predict": "base.evaluation.predict",
    "fit": "base.run",
    "CALLBACKS": "base.registry",
    "DATASETS": "base.registry",
    "FUNCTIONS": "base.registry",
    "LOADERS": "base.registry",
    "LOSSES": "base.registry",
    "METRICS": "base.registry",
    "MODELS": "base.registry",
    "OPTIMIZERS": "base.registry",
    "Registry": "base.registry",
    "SAMPLERS": "base.registry",
    "SCHEDULERS": "base.registry",
    "TRAINERS": "base.registry",
    "TRANSFORMS": "base.registry",
    "WRITERS": "base.registry",
}

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
    "Registry",
    "Run",
    "UserError",
    "evaluate",
    "fit",
    "predict",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module 'base' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)
