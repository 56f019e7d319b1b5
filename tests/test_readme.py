"""The README, run: its files written, its commands called, on small data, in a copy of the project."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.small_run import write_garments

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = ["data.train.args.root=garments", "trainer.epochs=1", "trainer.save_dir=saved", "device=cpu"]


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for name, text in fenced if name == language]


def block(language: str, holding: str) -> str:
    (found,) = [text for text in blocks(language) if holding in text]
    return found


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the README's files put where it says, and one run."""
    folder = tmp_path_factory.mktemp("readme") / "project"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*", "saved", "tests", "docs", "data"))
    write_garments(folder / "garments")
    (folder / "model" / "tiny.py").write_text(block("python", "class Tiny"))
    (folder / "model" / "errors.py").write_text(block("python", "def top_1_error"))
    (folder / "trainer" / "with_penalty.py").write_text(block("python", "class WithPenalty"))
    return folder


DRIVER = """
import json, runpy, sys

sys.path.insert(0, "")
for argv in json.loads(sys.argv[1]):
    sys.argv = argv
    try:
        runpy.run_path(argv[0], run_name="__main__")
    except SystemExit as end:
        assert not end.code, (argv, end.code)
    print(chr(0), end="")
"""


def call_each(project: Path, commands: list[list[str]]) -> list[str]:
    """What each prints; all in one process, as starting one takes longer than most of them."""
    return call(project, "-c", DRIVER, json.dumps(commands)).split("\0")[:-1]


def call(project: Path, *argv: str) -> str:
    command = [sys.executable, *argv]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_users_own_files_train_and_every_command_works_on_the_run(project: Path) -> None:
    command = next(line for line in block("sh", "model.type=Tiny").splitlines() if line.startswith("python"))
    more = ["trainer.type=WithPenalty", "metrics=[accuracy, top_1_error]"]
    out = call(project, *command.split()[1:], *SMALL, *more)
    assert "top_1_error" in out and "penalty" in out and "fit" in out
    run = re.search(r"finished: (\S+)", out)
    assert run
    commands = [line.split("#")[0].split() for text in blocks("sh") for line in text.splitlines()]
    ours = [words for words in commands if words[:1] == ["python"] and "-r" in words]
    assert len(ours) == 4
    Image.new("L", (28, 28), 90).save(project / "shirt.png")
    call_each(project, [[run[1] if word.startswith("saved/") else word for word in words[1:]] for words in ours])
    assert (Path(project / run[1]) / "test" / "valid" / "metrics.json").exists()
    comparing = [line for text in blocks("sh") for line in text.splitlines() if "tools/compare.py" in line]
    assert len(comparing) == 4
    calls = [
        [run[1] if word.startswith("20261120") else word for word in shlex.split(line, comments=True)][1:]
        for line in comparing
    ]
    for line, told in zip(comparing, call_each(project, calls), strict=True):
        assert Path(run[1]).name in told or told.startswith("no runs"), line
    assert (project / "report.html").exists()


def test_the_commands_with_a_config_are_accepted_and_so_is_the_config_shown(project: Path) -> None:
    (project / "readme.yaml").write_text(block("yaml", "name:"))
    told = [line.split("#")[0].split() for text in blocks("sh") for line in text.splitlines()]
    commands = [words[2:] for words in told if words[:2] == ["python", "train.py"] and "-r" not in words]
    assert len(commands) >= 6
    lines = [["train.py", "-c", "readme.yaml", *SMALL, "--check"]]
    for words in commands:
        asks = {"--check", "--explain", "--list"} & {*words}
        lines.append(["train.py", *words, *([] if "--list" in asks else SMALL), *([] if asks else ["--check"])])
    call_each(project, lines)


def test_the_error_that_the_readme_shows_is_what_is_printed(project: Path) -> None:
    (text,) = [t for t in blocks("") if "did you mean" in t]
    argv = ["train.py", "-c", "configs/fashion_mnist.yaml", "model.type=Tiny", "model.args.widht=64"]
    done = subprocess.run([sys.executable, *argv], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert text.strip() in done.stderr


def test_the_notebooks_lines_run(project: Path) -> None:
    small = '"trainer.epochs": 1, "data.train.args.root": "garments", "device": "cpu"'
    text = block("python", "import evaluate, fit").replace('"trainer.epochs": 3', small)
    assert "1/1 " in call(project, "-c", text)


def test_every_file_that_the_readme_names_is_there() -> None:
    linked = re.findall(r"\]\(([^)#]+)\)", README)
    assert linked and [name for name in linked if not (ROOT / name).exists()] == []


def test_the_shipped_configs_are_plain_yaml() -> None:
    for file in sorted((ROOT / "configs").glob("*.yaml")):
        assert yaml.safe_load(file.read_text(encoding="utf-8"))["name"] == file.stem
