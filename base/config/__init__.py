"""What a config says, where it says it, and whether it can be: texts, layers, sections, signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from base.config.config import Config

__all__ = ["Config"]


def __getattr__(name: str) -> object:
    if name == "Config":
        from base.config.config import Config

        return Config
    raise AttributeError(f"module 'base.config' has no attribute {name!r}")
