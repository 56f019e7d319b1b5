"""Whether a peer is installed and may be measured."""

from __future__ import annotations

from importlib import metadata

REFUSED = ("2.6.2", "2.6.3")


def lightning() -> tuple[bool, str]:
    """Whether Lightning is installed and safe to use, and if not, why."""
    for package in ("lightning", "pytorch-lightning"):
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        if version in REFUSED:
            return False, f"{package} {version} is refused: these releases were compromised and withdrawn; take another"
        return True, ""
    return False, "Lightning is not installed, so it is left out: pip install lightning"
