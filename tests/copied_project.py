"""A project in a temporary folder: the framework's files, and a user's put among them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECTS = ROOT / "tests" / "template_projects"


def copy_framework(folder: Path) -> Path:
    """The files of base/manifest.txt, and what they need to run."""
    own = (ROOT / "base" / "manifest.txt").read_text(encoding="utf-8").split()
    for name in (*own, "base/manifest.txt", "pyproject.toml"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    for cache in {(ROOT / name).parent / "__pycache__" for name in own} - {ROOT / "__pycache__"}:
        if cache.is_dir():  # valid there too, as the files keep their times
            shutil.copytree(cache, folder / cache.relative_to(ROOT))
    return folder


def copied_project(name: str, folder: Path) -> Path:
    """The framework with the files of tests/template_projects/NAME dropped in, none of which may take the place of one
    of the framework's."""
    copy_framework(folder)
    for file in (PROJECTS / name).rglob("*"):
        target = folder / file.relative_to(PROJECTS / name)
        if file.is_file() and file.suffix != ".pyc":
            assert not target.exists(), target
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return folder


def run(project: Path, *command: str, code: int = 0) -> str:
    """What `python COMMAND` in the project prints; it must end with `code`."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
