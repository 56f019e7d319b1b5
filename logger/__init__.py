"""Console, metrics file and TensorBoard."""

from base.registry import WRITERS

__all__ = ["WRITERS"]
