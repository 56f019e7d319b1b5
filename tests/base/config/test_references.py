"""What references come to: plain values, with the place of the reference."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.config import Config
from base.config.arguments import substitute
from base.introspect.explain import explain
from tests.base.config.test_faults import changed

FACTS = {"data.input_shape": [3, 28, 32], "data.num_classes": 10}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("bad.yaml")
    model = 'model: {type: ToyNet, args: {hidden: "${project.width}", sizes: ["${project.width}", 4]}}'
    path.write_text(changed([model, "project: {width: 64}"]), encoding="utf-8")
    return path


def test_a_reference_is_the_value_after_all_layers_and_keeps_its_place(file: Path) -> None:
    assert Config.read(file).settings.model.args == {"hidden": 64, "sizes": [64, 4]}
    config = Config.read(file, ["project.width=7"])
    assert config["model"]["args"] == {"hidden": 7, "sizes": [7, 4]}
    assert str(config.origin("model.args.hidden")) == "bad.yaml:3:38"
    assert "hidden: 7" in explain(config, "model") and "bad.yaml:3; the value of ${project.width}" in explain(
        config, "model"
    )


def test_what_is_written_of_a_run_holds_the_values(file: Path) -> None:
    config = Config.read(file, {"project.width": 7})
    Path("again.yaml").write_text(config.to_yaml(), encoding="utf-8")
    assert "${project" not in config.to_yaml()
    assert Config.read("again.yaml", of_run=True).to_dict() == config.to_dict()


def test_a_reference_takes_what_an_extended_file_says(file: Path) -> None:
    Path("child.yaml").write_text("extends: bad.yaml\nproject: {width: 3}\n", encoding="utf-8")
    assert Config.read("child.yaml")["model"]["args"]["hidden"] == 3


def test_elements_of_facts() -> None:
    assert substitute(["${data.input_shape.2}", {"a": "${data.num_classes}"}], FACTS) == [32, {"a": 10}]
    with pytest.raises(
        ValueError, match=r"^\$\{data.input_shape.3\}: data.input_shape has 3 elements, the first is 0$"
    ):
        substitute("${data.input_shape.3}", FACTS)
