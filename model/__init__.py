"""Models, losses and metrics. A file put here is found by itself."""

from base.registry import LOSSES, METRICS, MODELS

__all__ = ["LOSSES", "METRICS", "MODELS"]
