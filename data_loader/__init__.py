"""Datasets, transforms, samplers and loaders. A file put here is found by itself."""

from base.registry import DATASETS, FUNCTIONS, LOADERS, SAMPLERS, TRANSFORMS

__all__ = ["DATASETS", "FUNCTIONS", "LOADERS", "SAMPLERS", "TRANSFORMS"]
