"""The JSON Schema: current, and of one mind with the reader. test_faults.py holds it against the table of faults."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from base import cli
from base.config import Config
from base.config.reader import read_yaml
from base.introspect.json_schema import header
from base.registry import MODELS
from tools import write_reference

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> Draft7Validator:
    shipped = json.loads((ROOT / "configs/schema.json").read_text(encoding="utf-8"))
    Draft7Validator.check_schema(shipped)
    return Draft7Validator(shipped)


def plain(text: str) -> Any:
    node = read_yaml(text, "a.yaml", [])
    assert node is not None
    return node.values


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_shipped_configs_name_the_schema_and_fit_it(file: Path, schema: Draft7Validator) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.startswith(header("schema.json") + "\n")
    assert [error.message for error in schema.iter_errors(plain(text))] == []


def test_what_is_generated_is_current() -> None:
    lock = dict(re.findall(r"(?m)^([\w-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(encoding="utf-8")))
    here = {
        name: importlib.metadata.version(name).partition("+")[0] for name in ("torch", "torchvision", "torchmetrics")
    }
    for name, text in write_reference.written().items():
        if name.endswith(".md") or here == {name: lock[name] for name in here}:
            assert (ROOT / name).read_text(encoding="utf-8") == text, f"{name} is stale: make docs"


def test_a_file_that_extends_another_says_less_and_may_take_away(schema: Draft7Validator) -> None:
    assert schema.is_valid(plain("extends: a.yaml\noptimizer: {args: {momentum: null}}\ntrainer: {early_stop: off}\n"))
    assert not schema.is_valid(plain("optimizer: {args: {momentum: 0.9}}\n"))
    assert not schema.is_valid(plain("extends: a.yaml\noptimizer: {type: SGD, args: {momentun: 0.9}}\n"))


def test_a_users_own_names_are_in_the_one_that_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @MODELS.register
    class SchemaNet:
        def __init__(self, hidden: int = 3) -> None: ...

    monkeypatch.chdir(tmp_path)
    assert cli.train(["--schema"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "# yaml-language-server: $schema=../saved/schema.json"
    written = json.loads(Path("saved/schema.json").read_text(encoding="utf-8"))
    assert "SchemaNet" in written["definitions"]["models"]["enum"]
    assert written["definitions"]["models.SchemaNet"]["properties"]["hidden"]["default"] == 3
    assert "SchemaNet" not in (ROOT / "configs/schema.json").read_text(encoding="utf-8")
    MODELS._registered.pop(("SchemaNet", __name__))


def test_a_json_config_may_name_the_schema(tmp_path: Path) -> None:
    values = plain(CONFIGS[0].read_text(encoding="utf-8"))
    assert "extends" not in values
    (tmp_path / "a.json").write_text(json.dumps({"$schema": "schema.json", **values}), encoding="utf-8")
    config = Config.read(tmp_path / "a.json")
    assert "$schema" not in config and config["name"] == values["name"]
