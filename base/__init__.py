"""The words a project needs. Each is imported when first used: `from base import Config` does not cost torch."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from base.base_callback import Callback
    from base.base_data_loader import BaseDataLoader
    from base.base_metric import Metric
    from base.base_model import BaseModel
    from base.base_trainer import BaseTrainer
    from base.config import Config
    from base.errors import CheckpointError, ConfigError, UserError
    from base.evaluating.evaluation import evaluate
    from base.evaluating.prediction import predict
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
    "Callback": "base.base_callback",
    "Metric": "base.base_metric",
    "BaseDataLoader": "base.base_data_loader",
    "BaseModel": "base.base_model",
    "BaseTrainer": "base.base_trainer",
    "Config": "base.config",
    "CheckpointError": "base.errors",
    "ConfigError": "base.errors",
    "UserError": "base.errors",
    "Run": "base.run",
    "evaluate": "base.evaluating.evaluation",
    "predict": "base.evaluating.prediction",
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
