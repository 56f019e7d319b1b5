"""Creates a project with the framework's history, so that updates can be pulled, and an example of each component.

python tools/new_project.py ../my_project
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from base.discovery import ROOT
from base.errors import UserError, WriteError
from utils.process import command

FILES = ROOT / "tools" / "project_files"
"""The files of a new project; PROJECT is replaced by its name."""
REMOTE = "framework"


def new_project(folder: str | Path) -> Path:
    """Creates a project named after its folder, which must not exist, and returns the folder.

    UserError for a bad name, or if the framework has no git history; WriteError if the folder cannot be created.
    """
    folder = Path(folder).resolve()
    name = folder.name
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise UserError(f"{name!r} is not a project name: expected letters, digits, '_' and '-', a letter first")
    if folder.exists():
        raise WriteError(f"{folder} exists already; choose another folder")
    if not (ROOT / ".git").exists():
        raise UserError(f"{ROOT} has no git history from which to pull updates: clone the framework with git")
    git(ROOT, "clone", "--quiet", "--no-hardlinks", "--origin", REMOTE, str(ROOT), str(folder))
    branch = git(folder, "branch", "--show-current") or "main"
    upstream = git(ROOT, "config", "--default", "", "--get", "remote.origin.url")
    if upstream and (upstream.startswith("/") or ":" in upstream):  # a relative path would mean another folder here
        git(folder, "remote", "set-url", REMOTE, upstream)
    for file in sorted(path for path in FILES.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        target = folder / str(file.relative_to(FILES)).replace("PROJECT", name.replace("-", "_"))
        text = file.read_text(encoding="utf-8").replace("PROJECT", name.replace("-", "_")).replace("BRANCH", branch)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    (folder / ".gitattributes").write_text("README.md merge=ours\n", encoding="utf-8")
    git(folder, "config", "merge.ours.driver", "true")
    git(folder, "add", "--all")
    git(folder, *_author(folder), "commit", "--quiet", "-m", f"Begin {name}")
    return folder


def _author(folder: Path) -> list[str]:
    """Git options that name an author, without whom git refuses to commit; empty if git knows the user."""
    known = git(folder, "config", "--default", "", "--get", "user.email")
    return [] if known else ["-c", "user.name=new project", "-c", "user.email=nobody@localhost"]


def git(folder: Path, *command: str) -> str:
    """The output of git. WriteError with its message if it fails."""
    if shutil.which("git") is None:
        raise UserError("git is not installed, or not on the PATH")
    done = subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True)
    if done.returncode:
        raise WriteError(f"git {command[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Creates a project: the framework and an example of each component.")
    parser.add_argument("folder", help="the new folder; its last part is the project's name")
    folder = new_project(parser.parse_args().folder)
    config = f"configs/{folder.name.replace('-', '_')}.yaml"
    print(f"made: {folder}\n  {command('cd', folder)}\n  {command('python', 'train.py', '-c', config)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
