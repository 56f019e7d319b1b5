"""Configs of pytorch-template are read unchanged: keys renamed and reshaped, own keys preserved, typos reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import Dataset

from base import BaseDataLoader
from base.cli import train
from base.config import Config
from base.errors import ConfigError
from base.legacy.config_file import near_miss
from base.registry import DATASETS, METRICS
from base.runs.difference import difference
from utils.device import select_device

THEIRS: dict[str, Any] = {
    "name": "Toy_LeNet",
    "n_gpu": 1,
    "arch": {"type": "LeNet", "args": {}},
    "data_loader": {"type": "ToyLoader", "args": {"data_dir": "data/", "batch_size": 32, "validation_split": 0.1}},
    "optimizer": {"type": "Adam", "args": {"lr": 0.001, "weight_decay": 0, "amsgrad": True}},
    "loss": "CrossEntropyLoss",
    "metrics": ["accuracy"],
    "lr_scheduler": {"type": "StepLR", "args": {"step_size": 50, "gamma": 0.1}},
    "trainer": {"epochs": 5, "save_dir": "saved/", "verbosity": 2, "monitor": "min val_loss", "early_stop": 10},
}


@DATASETS.register
class ToyLoader(BaseDataLoader):
    def __init__(self, data_dir: str, batch_size: int, validation_split: float = 0.0) -> None: ...


@METRICS.register
def top_1(output: Any, target: Any) -> float:
    return 0.0


@DATASETS.register
class ToySquares(Dataset[Any]):
    def __init__(self, root: str = "data") -> None: ...


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def read(changes: dict[str, Any] | None = None, *overrides: str, without: str = "") -> Config:
    values = {key: value for key, value in {**THEIRS, **(changes or {})}.items() if key != without}
    Path("config.json").write_text(json.dumps(values, indent=4), encoding="utf-8")
    return Config.read("config.json", overrides)


def faults_of(changes: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(changes)
    return [str(fault) for fault in error.value.faults]


def test_a_file_of_pytorch_template_is_read_by_other_names() -> None:
    config = read()
    assert config.settings.model.type == config["arch"]["type"] == "LeNet"
    assert config.settings.data.train.args["batch_size"] == config["data_loader"]["args"]["batch_size"] == 32
    assert (config.settings.data.valid, config.settings.n_gpu) == ("split", config["n_gpu"])
    assert config.settings.loss.type == "CrossEntropyLoss"
    assert str(config.origin("model.type")) == "config.json:5:17"
    assert config.notes[0] == "read as a config of pytorch-template"


def test_what_never_acts_is_a_warning_and_the_config_is_read_all_the_same() -> None:
    assert [str(warning).partition(":")[2].partition(";")[0] for warning in read().judged()] == [
        "40:23: warning: trainer.early_stop: never acts",
        "31:26: warning: lr_scheduler.args.step_size: the rate never changes",
    ]


def test_a_file_with_everything_off_runs() -> None:
    config = read({"trainer": {**THEIRS["trainer"], "monitor": "off", "early_stop": 10}})
    (warning, _) = config.judged()
    assert str(warning).endswith(
        ": warning: trainer.early_stop: never acts: nothing is monitored; found 10; "
        "set trainer.monitor, or early_stop: off"
    )


def test_keys_of_the_project_are_preserved_and_read_where_they_were() -> None:
    config = read({"optimizer_G": {"type": "Adam"}, "trainer": {**THEIRS["trainer"], "warm": [1, {"a": 2}]}})
    assert config.notes[0] == "read as a config of pytorch-template; keys of your own: trainer.warm, optimizer_G"
    assert config["optimizer_G"] == {"type": "Adam"}
    assert config["trainer"]["warm"] == [1, {"a": 2}] and config["trainer"]["epochs"] == 5
    Path("again.yaml").write_text(config.to_yaml(), encoding="utf-8")
    again = Config.read("again.yaml", of_run=True)
    assert again["optimizer_G"] == config["optimizer_G"] and again["trainer"]["warm"] == config["trainer"]["warm"]
    assert again["arch"] == config["arch"] and difference(config, again) == []


def test_typos_are_reported_by_the_names_in_the_file() -> None:
    trainer = {key: value for key, value in THEIRS["trainer"].items() if key != "epochs"}
    hint = "rename the key if it is your own"
    assert faults_of({"trainer": {**trainer, "epoch": 5}}) == [
        "config.json:35:5: trainer.epochs: missing; expected a whole number, 1 or more",
        f"config.json:40:9: trainer.epoch: unknown key; did you mean 'epochs'? {hint}",
    ]
    assert faults_of({"arch": {"type": "LeNet", "agrs": {}}}) == [
        f"config.json:6:9: arch.agrs: unknown key; did you mean 'args'? {hint}"
    ]
    assert faults_of({"data_loader": {"type": "ToyLoader", "args": {"data_dir": "x", "batch_sise": 3}}}) == [
        "config.json:9:17: data_loader.args.batch_size: ToyLoader needs this argument; expected a whole number",
        "config.json:12:13: data_loader.args.batch_sise: ToyLoader has no such argument; did you mean 'batch_size'?",
    ]
    assert faults_of({"model": "LeNet"}) == [
        "config.json:4:5: arch: given twice; it means the same as model, which is also given; keep one of them"
    ]


@pytest.mark.parametrize(
    ("key", "known", "meant"),
    [
        ("optimzer", ["optimizer"], "optimizer"),
        ("optimizre", ["optimizer"], "optimizer"),
        ("optimizer_G", ["optimizer"], None),
        ("tensorboardX", ["tensorboard"], None),
        ("seed2", ["seed"], None),
        ("losss", ["loss"], "loss"),
        ("sed", ["seed"], "seed"),
        ("agrs", ["args"], "args"),
        ("valid_data_loader", ["data_loader"], None),
        ("my_knob", ["loss", "seed"], None),
        ("epoch", [], None),
    ],
)
def test_a_near_miss_looks_like_a_typo_of_an_absent_key(key: str, known: list[str], meant: str | None) -> None:
    assert near_miss(key, known) == meant


def test_metrics_may_be_a_mapping() -> None:
    top = {"type": "top_k_accuracy", "args": {"k": 3}}
    config = read({"metrics": {"accuracy": None, "top": top, "top_k_accuracy": {"k": 2}, "each_epoch": ["top_1"]}})
    found = [(metric.type, metric.name, metric.args) for metric in config.settings.metrics]
    assert found == [
        ("accuracy", None, {}),
        ("top_k_accuracy", "top", {"k": 3}),
        ("top_k_accuracy", None, {"k": 2}),
        ("top_1", None, {}),
    ]


def test_sections_may_be_missing_or_off() -> None:
    assert read(without="lr_scheduler").settings.lr_scheduler is None
    assert read(without="metrics").settings.metrics == ()
    assert read({"trainer": {"epochs": 1, "early_stop": 0}}).settings.trainer.early_stop is None
    loader = {"type": "ToyLoader", "args": {"data_dir": "x", "batch_size": 2, "validation_split": 0.0}}
    assert read({"data_loader": loader, "trainer": {"epochs": 1}}).settings.trainer.monitor is None


def test_overrides_go_by_their_names_ours_and_short_flags() -> None:
    config = read(
        {"own": {"depth": 1}}, "arch.type=MLP", "own.depth=2", "--batch-size=8", "data_loader.args.data_dir=y"
    )
    assert (config["arch"]["type"], config["own"], config["project"]["own"]) == ("MLP", {"depth": 2}, {"depth": 2})
    assert config["data_loader"]["args"] == {"data_dir": "y", "batch_size": 8, "validation_split": 0.1}
    with pytest.raises(ConfigError, match=r"command line: owm.depth=2: owm: unknown key"):
        read({"own": {"depth": 1}}, "owm.depth=2")


OPTIONS = {
    "bs": {"flags": ["--bs", "-b"], "type": "int", "target": "data_loader;args;batch_size"},
    "depth": {"flags": ["--depth"], "target": "own.depth"},
    "rate": {"flags": ["--lr"], "target": "own.rate"},
}


def test_options_are_flags_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    config = read({"options": OPTIONS, "own": {"depth": 1, "rate": 2}}, "--bs=8", "--lr=7")
    assert config["data_loader"]["args"]["batch_size"] == 8 and config["own"]["rate"] == 7
    assert train(["-c", "config.json", "-b", "16", "--depth", "[1, 2]", "--explain", "project.own"]) == 0
    assert "depth: [1, 2]" in (said := capsys.readouterr().out) and "command line: --depth=[1, 2]" in said
    assert train(["-c", "config.json", "-b", "16", "--explain", "data.train.args.batch_size"]) == 0
    assert "data.train.args.batch_size: 16" in capsys.readouterr().out
    assert train(["-c", "config.json", "--dept", "3"]) == 2
    assert "command line: --dept: no such flag; did you mean '--depth'?\n" in capsys.readouterr().err


def test_a_wrong_option_is_reported_at_its_place() -> None:
    assert faults_of({"options": {"bs": {"flags": ["bs"], "target": ""}, "x": {"target": "a.b"}}}) == [
        'config.json:45:17: options.bs.flags.0: does not fit; found "bs"; expected flags such as --dropout',
        'config.json:47:23: options.bs.target: does not fit; found ""; '
        "expected a path such as model.args.dropout, its parts with '.' or ';' between them",
        "config.json:49:9: options.x.flags: missing; expected a list of flags such as --dropout",
    ]


def test_files_extend_each_other_in_their_shape() -> None:
    read({"own": 1})
    Path("child.yaml").write_text("extends: config.json\narch: MLP\ntrainer: {epochs: 7, other: 2}\n", encoding="utf-8")
    config = Config.read("child.yaml")
    assert (config["arch"]["type"], config["trainer"]["epochs"]) == ("MLP", 7)
    assert config["trainer"]["other"] == 2 and config["own"] == 1


def test_a_native_config_keeps_being_strict() -> None:
    file = Path("native.yaml")
    file.write_text(
        "name: a\nmodel: LeNet\nown: 1\ndata: {train: ToySquares}\nloss: L1Loss\noptimizer: SGD\n"
        "trainer: {epochs: 1}\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"native.yaml:3:1: own: unknown key; keys of your own go in project"):
        Config.read(file)


def test_n_gpu_never_fails(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("utils.device.available_devices", lambda: ["cpu"])
    assert select_device("auto", 4).type == select_device("auto", 0).type == "cpu"
    assert [record.getMessage() for record in caplog.records] == [
        "n_gpu is 4, there are 0 here, and a run takes one device: cpu"
    ]
    monkeypatch.setattr("utils.device.available_devices", lambda: ["cuda:0", "cpu"])
    assert select_device("auto", 0).type == "cpu" and select_device("auto", 1).type == "cuda"
    assert len(caplog.records) == 1
