"""A project made from the framework works, and the framework's news come in without a conflict."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from base.errors import UserError, WriteError
from tests.copied_project import ROOT, copy_framework
from tools.new_project import git, new_project

NOBODY = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The framework with a history of one commit."""
    for name, value in {**NOBODY, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}.items():
        monkeypatch.setenv(name, value)
    folder = copy_framework(tmp_path / "framework")
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "The framework")
    return folder


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", message)


def test_it_is_made_from_anywhere_trains_and_takes_in_news(framework: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    made = subprocess.run(
        [sys.executable, framework / "tools" / "new_project.py", "../my_project"],
        cwd=elsewhere, capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    project = tmp_path / "my_project"
    assert made.stdout == f"made: {project}\n  cd {project}\n  python train.py -c configs/my_project.yaml\n"
    assert git(project, "status", "--porcelain") == ""
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_my_project.py"],
        cwd=project, capture_output=True, text=True,
    )  # fmt: skip
    assert tested.returncode == 0, tested.stdout
    made_files = [path for path in project.rglob("*my_project*") if path.is_file() and path.suffix != ".pyc"]
    assert "PROJECT" not in "".join(path.read_text() for path in made_files)

    (project / "model" / "mine.py").write_text("# mine\n")
    commit(project, "Mine")
    readme = framework / "README.md"
    readme.write_text(readme.read_text().replace("# torch-atelier", "# torch-atelier, with news"))
    trainer = framework / "base" / "loop" / "base_trainer.py"
    trainer.write_text(trainer.read_text() + "\n# news\n")
    (framework / "model" / "news.py").write_text("# news\n")
    commit(framework, "News")
    git(project, "pull", "--quiet", "--no-rebase", "--no-edit", "framework", "main")
    assert git(project, "status", "--porcelain") == ""
    assert (project / "base" / "loop" / "base_trainer.py").read_text().endswith("# news\n")
    assert (project / "model" / "news.py").is_file() and (project / "model" / "mine.py").is_file()
    assert (project / "README.md").read_text().startswith("# my_project\n")


def test_only_the_readme_takes_the_place_of_a_file_of_the_framework() -> None:
    added = [path.relative_to(ROOT / "tools" / "project_files") for path in (ROOT / "tools/project_files").rglob("*")]
    assert [name.as_posix() for name in added if (ROOT / name).is_file()] == ["README.md"]


def test_what_cannot_be_made_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="'2 plots' is not a project name: expected letters, digits"):
        new_project(tmp_path / "2 plots")
    with pytest.raises(WriteError, match=r"exists already; choose another folder"):
        new_project(tmp_path)
    monkeypatch.setattr("tools.new_project.ROOT", tmp_path)
    with pytest.raises(UserError, match="has no git history from which to pull updates"):
        new_project(tmp_path / "new")
