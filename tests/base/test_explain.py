"""`--explain`: every value with where it comes from, and what the program decides by itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from base import cli
from base.config import Config
from base.errors import ConfigError
from base.introspect.explain import explain
from tests.small_run import small_config

HELD = "yes: it is held as tensors, all transforms treat whole batches"


@pytest.fixture
def child(tmp_path: Path, garments: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_config(tmp_path, garments, optimizer={"type": "Adam", "args": {"lr": 0.1, "eps": 1e-6}})
    (tmp_path / "child.yaml").write_text(
        "extends: config.yaml\noptimizer: {type: SGD, args: {lr: 0.2}}\n"
        'model: {type: MLP, args: {num_classes: "${data.num_classes}"}}\n'
    )
    monkeypatch.chdir(tmp_path)
    return Path("child.yaml")


def line_of(text: str, start: str) -> str:
    (line,) = (" ".join(line.split()) for line in text.splitlines() if line.strip().startswith(start))
    return line


def test_each_value_has_its_origin_and_what_it_shadows(child: Path) -> None:
    text = explain(Config.read(child, ["trainer.epochs=7", "--lr=0.5"]))
    assert line_of(text, "lr: 0.5") == "lr: 0.5 # command line: --lr=0.5; instead of 0.2 (child.yaml:2)"
    assert line_of(text, "momentum:") == "momentum: 0 # default of torch.optim.SGD"
    assert line_of(text, "epochs: 7").startswith("epochs: 7 # command line: trainer.epochs=7; instead of 3 (extends ")
    assert line_of(text, "type: SGD") == (
        f"type: SGD # child.yaml:2; instead of Adam (extends config.yaml:{line_number('type: Adam')})"
    )
    assert line_of(text, "# dropped: eps") == f"# dropped: eps: 1.0e-06 (extends config.yaml:{line_number('eps:')})"
    assert line_of(text, "seed:") == "seed: 0 # default"
    assert line_of(text, "num_classes:") == "num_classes: ${data.num_classes} # data: 10; child.yaml:3"


def line_number(start: str) -> int:
    lines = Path("config.yaml").read_text().splitlines()
    (number,) = (i for i, line in enumerate(lines, 1) if line.strip().startswith(start))
    return number


def test_decisions_have_reasons(child: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.device.available_devices", lambda: ["cpu"])
    decided = explain(Config.read(child, ["device=auto"])).partition("# decided by the program\n")[2]
    said = dict(re.findall(r"(?m)^#   (.{16}) (.*)$", decided))
    assert {name.strip(): why for name, why in said.items()} == {
        "device": "cpu: auto takes the first of cuda, mps, cpu, and there is cpu",
        "fused": "false: SGD gains nothing from it on cpu, and its bits would differ",
        "data": "real",
        **dict.fromkeys(("in memory, train", "in memory, valid", "in memory, test"), HELD),
    }


def test_what_the_config_says_is_no_decision(child: Path) -> None:
    decided = explain(Config.read(child, ["device=cpu", "optimizer.fused=false"])).partition("# decided")[2]
    assert "device" not in decided and "fused" not in decided


def test_what_is_explained_reads_back_as_the_same_config(child: Path) -> None:
    config = Config.read(child)
    Path("again.yaml").write_text(explain(config))
    again = Config.read("again.yaml", of_run=True).to_dict()
    for section, values in config.to_dict().items():  # the defaults of arguments are written out
        if section not in ("data", "model", "loss", "metrics", "optimizer"):
            assert again[section] == values
    assert again["optimizer"]["args"] == {**again["optimizer"]["args"], "lr": 0.2, "momentum": 0}


def test_one_key(child: Path) -> None:
    config = Config.read(child)
    assert explain(config, "optimizer.args.lr").splitlines()[:2] == ["optimizer.args.lr: 0.2", "  child.yaml:2"]
    assert explain(config, "optimizer.args.momentum").splitlines() == [
        "optimizer.args.momentum: 0",
        "  default of torch.optim.SGD",
        "  momentum factor",
    ]
    assert explain(config, "trainer.keep").splitlines()[1:] == [
        "  default",
        "  how many saves to keep, beside the best",
    ]
    with pytest.raises(ConfigError, match=r"there is no key optimizer.args.momentun; did you mean 'momentum'"):
        explain(config, "optimizer.args.momentun")


def test_nothing_is_started_fetched_or_written(
    tmp_path: Path, garments: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = small_config(tmp_path, tmp_path / "nowhere", data__offline="synthetic")
    assert cli.train(["-c", str(config), "--explain", "seed=3"]) == 0
    out = capsys.readouterr().out
    assert line_of(out, "seed:") == "seed: 3 # command line: seed=3"
    assert "synthetic unless it can be fetched: FashionMNIST: its files are not in" in out
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]
    assert cli.train(["-c", str(config), "--explain", "optimizer.args.lr"]) == 0
    assert cli.train(["-c", str(config), "--explain", "trainer.epochs=0"]) == 2


def test_the_config_of_a_run_says_so(child: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.train(["-c", str(child), "trainer.epochs=1"]) == 0
    (run,) = Path("saved/small").iterdir()
    capsys.readouterr()
    assert cli.train(["-r", str(run), "--explain", "trainer.epochs"]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith(f"  checkpoint {run}/config.yaml:")
