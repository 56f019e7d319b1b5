"""The environment of a run: versions, hardware, git. Environment variables are left out, as they may hold secrets."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "torchmetrics", "tensorboard", "safetensors", "pydantic")
LONGEST_DIFF = 200_000
"""At most so many bytes of the uncommitted diff are saved."""
LONGEST_LIST = 100
"""At most so many untracked files are listed."""
PROJECT = Path(__file__).resolve().parent.parent


def environment(device: str, command: Sequence[str] = ()) -> str:
    """The text of environment.json for a run on `device` (`cpu`, `cuda:0`), started with `command`."""
    found = {"command": shlex.join(command), **machine(device), "git": git(PROJECT)}
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def machine(device: str) -> dict[str, Any]:
    import torch

    place = torch.device(device)
    found = {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "platform": platform.platform(),
        "processor": platform.machine(),
        "cpu_count": os.cpu_count(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if place.type == "cuda":
        found |= {
            "device_name": torch.cuda.get_device_name(place),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found


def git(folder: Path) -> dict[str, Any] | None:
    """The commit, and how the tracked files differ from it; None without git or without a repository.

    Keys: `commit` (None before the first one), `dirty`, `untracked` (names), `diff`, and, if the diff was too long,
    `diff_cut` (the number of bytes left out).
    """
    status = _git(folder, "status", "--porcelain=v1", "-z", "--no-renames", "--", ".")
    if status is None:
        return None
    entries = [entry for entry in status.decode(errors="replace").split("\0") if entry]
    untracked = [entry[3:] for entry in entries if entry.startswith("??")]
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    # A repository may configure external diff programs and text converters, which would run its code.
    diff = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "HEAD", "--", ".") or b""
    found = {
        "commit": commit.decode().strip() if commit else None,
        "dirty": bool(entries),
        "untracked": untracked[:LONGEST_LIST],
        "diff": diff[:LONGEST_DIFF].decode(errors="replace"),
    }
    return found | {"diff_cut": len(diff) - LONGEST_DIFF} if len(diff) > LONGEST_DIFF else found


def _git(folder: Path, *words: str) -> bytes | None:
    """The output of git; None if it fails. Takes no lock, so that it blocks no other git command."""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *words]
    try:
        return subprocess.run(command, check=True, timeout=10, stdin=subprocess.DEVNULL, capture_output=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
