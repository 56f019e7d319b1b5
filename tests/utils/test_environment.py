"""environment.json: what tells two runs apart, and no secret."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch

from utils import environment as module
from utils.environment import environment, git


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `project` in a repository with one commit."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "a")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "a@b.c")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text("lr = 0.1\n")
    for words in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)
    return project


def test_a_clean_repository(repository: Path) -> None:
    found = git(repository)
    assert found is not None
    assert len(found.pop("commit")) == 40
    assert found == {"dirty": False, "untracked": [], "diff": ""}


def test_changes_are_kept(repository: Path) -> None:
    (repository / "train.py").write_text("lr = 0.2\n")
    (repository / "new net.py").touch()
    (repository.parent / "elsewhere.txt").touch()
    found = git(repository)
    assert found is not None
    assert found["dirty"]
    assert found["untracked"] == ["project/new net.py"]
    assert "-lr = 0.1\n+lr = 0.2\n" in found["diff"]
    assert "diff_cut" not in found


def test_a_long_diff_is_cut_and_says_so(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "x = 'ä'\n" * 100
    (repository / "train.py").write_text(whole, encoding="utf-8")
    monkeypatch.setattr(module, "LONGEST_DIFF", 500)
    found = git(repository)
    assert found is not None
    assert len(found["diff"].encode()) <= 502
    assert found["diff_cut"] > 500


def test_before_the_first_commit(tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init"], check=True, capture_output=True)
    assert git(tmp_path) == {"commit": None, "dirty": False, "untracked": [], "diff": ""}


def test_no_repository_and_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git(Path.cwd()) is None


def test_a_repository_cannot_have_its_programs_run(repository: Path, tmp_path: Path) -> None:
    trap = f"touch {tmp_path}/sprung #"
    for name in ("diff.external", "diff.trap.textconv", "core.fsmonitor"):
        subprocess.run(["git", "-C", str(repository), "config", name, trap], check=True)
    (repository / ".gitattributes").write_text("*.py diff=trap\n")
    (repository / "train.py").write_text("lr = 0.2\n")
    assert git(repository) is not None
    assert not (tmp_path / "sprung").exists()


def test_everything_is_there_and_nothing_of_the_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "hush-hush")
    text = environment("cpu", ["train.py", "-c", "my config.yaml"])
    found = json.loads(text)
    assert found["command"] == "train.py -c 'my config.yaml'"
    assert found["packages"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert {"python", "platform", "cpu_capability", "git"} <= set(found)
    assert "hush-hush" not in text


def test_a_package_that_is_not_there_is_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGES", ("no-such-package",))
    assert json.loads(environment("cpu"))["packages"]["no-such-package"] is None
