"""Code from outside the project that may register names: only what the project itself allows."""

from __future__ import annotations

import importlib
import importlib.metadata
import tomllib
from collections.abc import Iterable

from base.discovery import ROOT

GROUP = "torch_atelier.plugins"


def allowed_plugins(command_line: Iterable[str] = ()) -> dict[str, str]:
    """Names that `plugins:` of a config may use, and the module behind each.

    They are installed packages with an entry point of the group `torch_atelier.plugins`, modules under
    `[tool.torch_atelier] plugins` of pyproject.toml, and those of `--plugin NAME`, which may also be a package's.
    """
    pyproject = ROOT / "pyproject.toml"
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8")) if pyproject.is_file() else {}
    listed = settings.get("tool", {}).get("torch_atelier", {}).get("plugins", [])
    installed = {point.name: point.value.partition(":")[0] for point in importlib.metadata.entry_points(group=GROUP)}
    return {name: name for name in command_line} | installed | {name: name for name in listed}


def flags(plugins: Iterable[str]) -> list[str]:
    """The flags that allow `plugins` on a command line: none for those that the project allows by itself."""
    allowed = allowed_plugins()
    return [word for name in plugins if name not in allowed for word in ("--plugin", name)]


def load_plugin(module: str) -> None:
    """Imports one allowed module; its decorators register what it defines."""
    importlib.import_module(module)
