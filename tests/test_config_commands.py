"""The commands at the head of every shipped config are run, shortened by overrides; those of docs/ are checked."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from base.cli import train
from base.config import Config
from base.registry import DATASETS
from tests.data_loader.toy_sets import write_cifar10
from tests.small_run import write_garments

ROOT = Path(__file__).resolve().parent.parent
HEADS = {
    file.name: "\n".join(re.findall(r"^# ?(.*)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    for file in sorted((ROOT / "configs").glob("*.yaml"))
}
PAGES = {file.name: file.read_text(encoding="utf-8") for file in sorted((ROOT / "docs").glob("*.md"))}
(HEADS["mnist_lenet.json"],) = re.findall(r"^`configs/mnist_lenet.json` is .*?\n\n", PAGES["migrating.md"], re.M | re.S)
SHORT = ["trainer.epochs=1", "trainer.overfit_batches=1", "trainer.tensorboard=false", "device=cpu"]
SIZES = {"SyntheticFashion": 100, "SyntheticReviews": 100, "SyntheticLinear": 100}


def commands(text: str) -> list[list[str]]:
    """What stands after `python train.py -c`; a backslash carries on with the next line."""
    lines = re.findall(r"python train\.py -c ([^`\n]*)", text.replace("\\\n", " "))
    return [shlex.split(line, comments=True) for line in lines]


def overrides_in_words(text: str) -> list[list[str]]:
    """What a text tells to add to a command: `data.valid=off trainer.monitor=off`."""
    told = re.findall(r"`([^`]*)`", text.replace("\n", " "))
    return [shlex.split(words) for words in told if re.match(r"\w+\.[\w.]+=", words)]


def smaller(name: str) -> list[str]:
    """Overrides that leave a config's own data in place, and little of it."""
    if name.endswith(".json"):
        return ["data_loader.args.data_dir=data"]
    data = Config.read(ROOT / "configs" / name)["data"]
    sets: Mapping[str, Any] = {key: data[key] for key in ("train", "valid", "test") if isinstance(data[key], Mapping)}
    sizes = [f"data.{key}.args.size={SIZES[one['type']]}" for key, one in sets.items() if one["type"] in SIZES]
    return [*sizes, *(["data.valid=20"] if isinstance(data["valid"], int) else []), "data.loader.batch_size=16"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a user is in, with small files where the datasets look for theirs."""
    write_garments(tmp_path / "data", train=100, test=20)
    (tmp_path / "data" / "MNIST").symlink_to("FashionMNIST")
    write_cifar10(tmp_path / "data", train=40)
    write_cifar100(tmp_path / "data" / "cifar-100-binary")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_cifar100(folder: Path) -> None:
    folder.mkdir()
    for name in ("train", "test"):
        rows = np.zeros((200, 3074), dtype=np.uint8)
        rows[:, 1] = np.arange(200) % 100
        (folder / f"{name}.bin").write_bytes(rows.tobytes())
    for kind, count in (("coarse", 20), ("fine", 100)):
        (folder / f"{kind}_label_names.txt").write_text("\n".join(f"kind{i}" for i in range(count)))


def run(file: str, *words: str) -> None:
    assert train(["-c", file, *SHORT, *smaller(Path(file).name), *words]) == 0, [file, *words]


@pytest.mark.parametrize("name", HEADS)
def test_the_commands_of_a_config_run(name: str, project: Path) -> None:
    """In their order: what one trains, the next begins with."""
    told = commands(HEADS[name])
    assert f"configs/{name}" in [file for file, *_ in told]
    for file, *words in told:
        run(file, *words)
    for words in overrides_in_words(HEADS[name]):
        run(f"configs/{name}", *words, "--check")


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if commands(text) or overrides_in_words(text)])
def test_the_commands_of_a_page_are_accepted(page: str, project: Path) -> None:
    """Where any config may stand, that of the README does."""
    for file, *words in commands(PAGES[page]):
        given = file.replace("CONFIG", "configs/fashion_mnist.yaml").replace("config.json", "configs/mnist_lenet.json")
        run(given, *words, *({"--check", "--explain"} & {*words} or ["--check"]))
    for words in overrides_in_words(PAGES[page]):
        if words[0] != "key.path=value":
            Config.read("configs/fashion_mnist.yaml", words)


@pytest.mark.parametrize("name", HEADS)
def test_the_data_sets_that_a_head_tells_of_take_these_arguments(name: str) -> None:
    for line in re.findall(r"^ *(train: \{.*\})$", HEADS[name], re.MULTILINE):
        component = yaml.safe_load(line)["train"]
        inspect.signature(DATASETS.get(component["type"])).bind(**component["args"])
