"""Layers, overrides, defaults, round trips: what a config says in the end, and where it says so."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import yaml
from torch.utils.data import DataLoader, Dataset

from base.config import Config
from base.config.fields import Component, seconds
from base.config.keys import LoaderConfig, ModelConfig, Settings
from base.errors import ConfigError, Origin
from base.registry import DATASETS
from base.runs.difference import ABSENT, difference


@DATASETS.register
class ToyDigits(Dataset[Any]):
    def __init__(self, root: str = "data", train: bool = True) -> None: ...


BASE = """\
name: first
data:
  train: ToyDigits
  valid: 0.1
  transform: {train: [ToFloat, {type: Normalize, args: {mean: [0.5], std: [0.5]}}]}
model: LeNet
loss: CrossEntropyLoss
metrics: [accuracy, {type: top_k_accuracy, args: {k: 3}}]
optimizer: {type: SGD, args: {lr: 0.1, momentum: 0.9}}
lr_scheduler: {type: StepLR, args: {step_size: 2}}
trainer: {epochs: 5, early_stop: 3}
project: {sizes: [1, 2], type: Free}
"""


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE, encoding="utf-8")


def read(text: str = "extends: base.yaml\n", *overrides: str, name: str = "a.yaml") -> Config:
    Path(name).write_text(text, encoding="utf-8")
    return Config.read(name, overrides)


def told(text: str, name: str = "a.yaml") -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(text, name=name)
    return [str(fault) for fault in error.value.faults]


def test_a_bare_name_is_a_component() -> None:
    config = read()
    assert (config["model"]["type"], config["model"]["args"]) == ("LeNet", {})
    assert config["data"]["transform"]["train"][0] == {"type": "ToFloat", "args": {}}
    assert config["project"] == {"sizes": [1, 2], "type": "Free"}
    assert config.settings.model == ModelConfig(type="LeNet")


def test_mappings_merge_and_everything_else_replaces() -> None:
    config = read("extends: base.yaml\nname: second\nmetrics: [accuracy]\noptimizer: {args: {lr: 0.2}}\n")
    assert config["name"] == "second"
    assert [metric["type"] for metric in config["metrics"]] == ["accuracy"]
    assert config["optimizer"]["args"] == {"lr": 0.2, "momentum": 0.9}
    assert config["trainer"]["epochs"] == 5


@pytest.mark.parametrize("change", ["optimizer: Adam", "optimizer: {type: Adam}"])
def test_another_type_drops_the_arguments_below(change: str) -> None:
    assert read(f"extends: base.yaml\n{change}\n")["optimizer"]["args"] == {}
    assert read("extends: base.yaml\n", change.replace(": ", "=", 1))["optimizer"]["args"] == {}


@pytest.mark.parametrize("change", ["optimizer: SGD", "optimizer: {type: SGD, args: {nesterov: true}}"])
def test_the_same_type_keeps_them(change: str) -> None:
    assert read(f"extends: base.yaml\n{change}\n")["optimizer"]["args"]["momentum"] == 0.9


def test_null_removes_a_key_and_switches_off_what_can_be_off() -> None:
    text = "optimizer: {args: {momentum: null}}\nlr_scheduler: null\nmetrics: null\nproject: {sizes: null}\n"
    config = read(f"extends: base.yaml\n{text}trainer: {{early_stop: null}}\n")
    assert config["optimizer"]["args"] == {"lr": 0.1}
    assert config["lr_scheduler"] is None and config.settings.schedules == {"optimizer": ()}
    assert config["trainer"]["early_stop"] is None
    assert config["metrics"] == []
    assert config["project"] == {"type": "Free"}
    assert told("extends: base.yaml\nloss: null\n") == [
        "a.yaml:1:1: loss: missing; expected a name, a mapping with type and args, or names with one of these each"
    ]


def test_a_null_that_covers_nothing_is_a_value() -> None:
    assert read("extends: base.yaml\nloss: {args: {weight: null}}\n")["loss"]["args"] == {"weight": None}


def test_files_extend_each_other_across_folders() -> None:
    Path("more").mkdir()
    Path("more/b.yaml").write_text("extends: ../base.yaml\nseed: 1\nname: b\n", encoding="utf-8")
    Path("c.json").write_text('{"extends": "more/b.yaml", "name": "c"}', encoding="utf-8")
    config = Config.read("c.json")
    assert (config["name"], config["seed"], config["trainer"]["epochs"]) == ("c", 1, 5)
    assert "extends" not in config
    origins = {key: str(config.origin(key)) for key in ("name", "seed", "model.type", "optimizer.args.lr", "device")}
    assert origins == {
        "name": "c.json:1:36",
        "seed": "more/b.yaml:2:7",
        "model.type": "base.yaml:6:8",
        "optimizer.args.lr": "base.yaml:9:35",
        "device": "default",
    }


def test_what_is_wrong_with_extends_is_told_where_it_is_said() -> None:
    assert told("name: x\nextends: bass.yaml\n") == [
        "a.yaml:2:10: extends: bass.yaml: no such file; expected a file, such as base.yaml"
    ]
    assert told("extends: [base.yaml]\n") == [
        "a.yaml:1:10: extends: does not fit; found a list of 1; expected one file, such as base.yaml"
    ]
    assert told("extends: ./a.yaml\n") == [
        "a.yaml:1:10: extends: files extend each other in a circle; found a.yaml -> a.yaml"
    ]
    Path("b.yaml").write_text("extends: a.yaml\n", encoding="utf-8")
    assert told("extends: b.yaml\n") == [
        "b.yaml:1:10: extends: files extend each other in a circle; found a.yaml -> b.yaml -> a.yaml"
    ]
    Path("b.yaml").write_text("name: [\n", encoding="utf-8")
    assert told("extends: b.yaml\n") == ["b.yaml:2:1: the file ends in the middle of a value; is it cut off?"]


def test_a_fault_is_told_of_the_file_that_has_it() -> None:
    Path("b.yaml").write_text("extends: base.yaml\ntrainer: {epochs: 0, keep: 0}\n", encoding="utf-8")
    assert told("extends: b.yaml\nseed: -1\ntrainer: {keep: 1}\n") == [
        "a.yaml:2:7: seed: is out of range; found -1; expected a whole number from 0 to 2**63 - 1",
        "b.yaml:2:19: trainer.epochs: is out of range; found 0; expected a whole number, 1 or more",
    ]


def test_an_override_is_an_edit_of_the_file() -> None:
    config = read(
        "extends: base.yaml\n",
        "trainer.epochs=7",
        "metrics.1.args.k=5",
        "data.transform.train.0=RandomHorizontalFlip",
        "model={type: MLP, args: {hidden: [8]}}",
        "project.deep.new=1e-3",
        "lr_scheduler=off",
        "--lr=0.5",
        "--batch-size=32",
    )
    assert config["trainer"]["epochs"] == 7
    assert config["metrics"][1]["args"] == {"k": 5}
    assert [step["type"] for step in config["data"]["transform"]["train"]] == ["RandomHorizontalFlip", "Normalize"]
    assert (config["model"]["type"], config["model"]["args"]) == ("MLP", {"hidden": [8]})
    assert config["project"]["deep"] == {"new": 0.001}
    assert config["lr_scheduler"] is None
    assert config["optimizer"]["args"] == {"lr": 0.5, "momentum": 0.9}
    assert config["data"]["loader"]["batch_size"] == 32
    assert str(config.origin("metrics.1.args.k")) == "command line: metrics.1.args.k=5"
    assert str(config.origin("optimizer.args.lr")) == "command line: --lr=0.5"


def test_the_order_of_overrides_matters_for_one_key_only() -> None:
    for overrides in (("optimizer=Adam", "optimizer.args.lr=0.5"), ("optimizer.args.lr=0.5", "optimizer=Adam")):
        assert read("extends: base.yaml\n", *overrides)["optimizer"]["args"] == {"lr": 0.5}
    assert read("extends: base.yaml\n", "trainer.epochs=1", "trainer.epochs=2")["trainer"]["epochs"] == 2


def test_overrides_of_a_notebook_are_values() -> None:
    config = Config.read(
        "base.yaml", {"optimizer.args.lr": 0.5, "metrics": ["accuracy"], "model": "MLP", "project": {}}
    )
    assert config["optimizer"]["args"]["lr"] == 0.5
    assert config["metrics"][0]["type"] == "accuracy" and config["model"]["type"] == "MLP"
    assert config.origin("optimizer.args.lr") == Origin("fit(): optimizer.args.lr")
    with pytest.raises(ConfigError) as error:
        Config.read("base.yaml", {"trainer.epochs": object(), "trainer epochs": 3, "seed": float("inf")})
    assert [str(fault) for fault in error.value.faults] == [
        "fit(): seed: not a finite number; found inf",
        "fit(): trainer epochs: not a key; expected a path such as trainer.epochs",
        "fit(): trainer.epochs: object cannot be written in a config; "
        "expected numbers, text, true, false, null, lists and mappings",
    ]


def test_what_was_covered_is_remembered() -> None:
    config = read("extends: base.yaml\noptimizer: {type: Adam, args: {lr: 0.2}}\n", "optimizer.args.lr=0.5")
    lr, optimizer = config.written("optimizer.args.lr"), config.written("optimizer")
    assert lr is not None and optimizer is not None
    assert [(was.values, str(was.sources[()].origin)) for was in lr.overridden] == [(0.2, "a.yaml:2:36")]
    assert optimizer.overridden[0].values == {"lr": 0.1, "momentum": 0.9}


def test_config_to_yaml_to_config_is_the_same_and_so_is_json() -> None:
    config = read(
        "extends: base.yaml\ntrainer: {max_time: 1h30m, clip: {norm: 1}}\ndata: {valid: {a: 0.1, b: ToyDigits}}\n",
        "trainer.monitor=min val_a_loss",
    )
    again = read(config.to_yaml(), name="again.yaml")
    Path("again.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    for other in (again, Config.read("again.json"), Config.from_dict(config.to_dict())):
        assert other.settings == config.settings
        assert other.to_dict() == config.to_dict()
        assert difference(config, other) == []
    assert yaml.safe_load(config.to_yaml())["trainer"]["max_time"] == 5400.0


@pytest.mark.parametrize(
    "loader", ["sampler: RandomSampler", "batch_sampler: {type: BatchSampler, args: {batch_size: 8, drop_last: true}}"]
)
def test_a_default_that_a_sampler_overrules_is_not_written(loader: str) -> None:
    config = read(f"extends: base.yaml\ndata: {{loader: {{{loader}}}}}\n")
    assert "shuffle" not in config["data"]["loader"]
    assert Config.from_dict(config.to_dict()).settings == config.settings


def test_the_config_of_a_checkpoint_is_checked_too() -> None:
    values = read().to_dict()
    values["trainer"]["epochs"] = "5"
    values["extends"] = "/etc/passwd"
    with pytest.raises(ConfigError) as error:
        Config.from_dict(values, "saved/x/checkpoints/last")
    assert [str(fault) for fault in error.value.faults] == [
        "saved/x/checkpoints/last: extends: unknown key; keys of your own go in project",
        'saved/x/checkpoints/last: trainer.epochs: does not fit; found "5"; '
        "expected a whole number, 1 or more; write 5, without quotes",
    ]


def test_a_config_reads_as_a_mapping_and_refuses_to_change() -> None:
    config = read()
    assert config["trainer"]["epochs"] == 5
    assert config.get("nothing", 3) == 3 and "model" in config and "stride" not in config
    assert {**config["optimizer"]["args"]} == {"lr": 0.1, "momentum": 0.9}
    changes: list[Any] = [
        lambda: config["trainer"].update(epochs=6),
        lambda: config["trainer"].__setitem__("epochs", 6),
        lambda: config["metrics"].append("accuracy"),
        lambda: config["metrics"][0]["args"].pop("k", None),
        lambda: config.settings.optimizer.args.setdefault("lr", 1),
    ]
    for change in changes:
        with pytest.raises(TypeError, match="a config is read-only"):
            change()
    with pytest.raises(ValueError, match="frozen"):
        config.settings.trainer.epochs = 6
    assert config["trainer"]["epochs"] == 5


def test_settings_can_be_copied_and_sent_to_a_worker() -> None:
    settings = read().settings
    assert copy.deepcopy(settings) == settings == pickle.loads(pickle.dumps(settings))


def test_defaults_that_depend_on_other_keys() -> None:
    no_validation = read("extends: base.yaml\ndata: {valid: off}\ntrainer: {early_stop: off}\n")
    assert no_validation["trainer"]["monitor"] is None and no_validation.settings.data.valid_sets == {}
    assert read()["trainer"]["monitor"] == "min val_loss"


def test_sets_by_name() -> None:
    data = read(
        "extends: base.yaml\ndata: {valid: {a: 0.1, b: 50, c: ToyDigits}}\n", "trainer.monitor=min loss"
    ).settings.data
    assert data.valid_sets == {"a": 0.1, "b": 50, "c": Component(type="ToyDigits")}
    assert read().settings.data.valid_sets == {"": 0.1}
    assert data.test_sets == {}  # of `auto` the class of the dataset decides
    data = read("extends: base.yaml\ndata: {test: {far: ToyDigits}}\n").settings.data
    assert data.test_sets == {"far": Component(type="ToyDigits")}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1h30m", 5400),
        ("90m", 5400),
        ("01:30:00", 5400),
        ("1d 12h", 129600),
        ("45s", 45),
        (90, 90),
        (0.5, 0.5),
        ("off", None),
    ],
)
def test_times(text: Any, value: Any) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "h", "30", "1:30", "1h30", "90 minutes", "01:75:00", "m30"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="not a time"):
        seconds(text)


def test_the_loader_has_every_argument_of_torch() -> None:
    ours = set(LoaderConfig.model_fields)
    given_by_the_program = {"self", "dataset", "generator"}
    deprecated = {"pin_memory_device"}
    assert set(inspect.signature(DataLoader.__init__).parameters) - given_by_the_program - deprecated <= ours


def test_differences_are_judged() -> None:
    before = read("extends: base.yaml\ndata: {loader: {num_workers: 0}}\n")
    after = read(
        "extends: base.yaml\n",
        "trainer.epochs=6",
        "trainer.keep=9",
        "data.loader.num_workers=2",
        "data.loader.batch_size=32",
        "optimizer.args.momentum=null",
        "model.args.in_channels=3",
        "callbacks=[QuickstartLines]",
        "project.sizes.0=7",
    )
    found = {d.key: (d.before, d.after, d.verdict) for d in difference(before, after)}
    assert found == {
        "data.loader.batch_size": (64, 32, "epoch_end"),
        "data.loader.num_workers": (0, 2, "harmless"),
        "project.sizes.0": (1, 7, "force"),
        "optimizer.args.momentum": (0.9, ABSENT, "force"),
        "trainer.epochs": (5, 6, "force"),
        "trainer.keep": (3, 9, "harmless"),
        "model.args.in_channels": (ABSENT, 3, "impossible"),
        "callbacks.0.type": (ABSENT, "QuickstartLines", "harmless"),
    }
    first = difference(before, after)[0]
    assert str(first) == "project.sizes.0: 1 (base.yaml:12:19) -> 7 (command line: project.sizes.0=7)"


def test_more_epochs_are_harmless_unless_the_rate_depends_on_them() -> None:
    def verdict(*overrides: str) -> str:
        before, after = (read("extends: base.yaml\n", *overrides, f"trainer.epochs={n}") for n in (5, 6))
        return difference(before, after)[0].verdict

    assert verdict() == "force"
    assert verdict("lr_scheduler=null") == "harmless"


def test_a_fault_found_later_is_told_at_the_nearest_place() -> None:
    config = read("extends: base.yaml\n", "trainer.epochs=6")
    assert str(config.fault("trainer.epochs", "x")) == "command line: trainer.epochs=6: x"
    assert str(config.fault("optimizer.args.weight_decay", "x")) == "base.yaml:9:30: optimizer.args.weight_decay: x"
    assert str(config.fault("metrics.1.args.k", "x")) == "base.yaml:8:54: metrics.1.args.k: x"
    assert str(config.fault("callbacks.0", "x")).startswith("a.yaml:1:1: ")


def test_the_sections_make_a_json_schema_with_a_line_on_every_key() -> None:
    schema = Settings.model_json_schema()
    sections = [schema, *schema["$defs"].values()]
    keys = [(key, value) for section in sections for key, value in section["properties"].items()]
    assert len(keys) > 80 and [key for key, value in keys if not value.get("description")] == []


def test_an_override_inside_a_list_overrides_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "name: a\ndata: {train: SyntheticFashion}\nmodel: MLP\nloss: CrossEntropyLoss\noptimizer: SGD\n"
        "trainer: {epochs: 1}\n"
        "metrics: [accuracy, {type: top_k_accuracy, args: {k: 2}}]\n",
        encoding="utf-8",
    )
    config = Config.read(file, ["metrics.1.args.k=3", "metrics.0=f1"])
    assert [metric.type for metric in config.settings.metrics] == ["f1", "top_k_accuracy"]
    whole, changed = config.written("metrics"), config.written("metrics.1.args.k")
    assert whole is not None and whole.overridden == () and whole.origin.line == 7
    assert changed is not None and [below.values for below in changed.overridden] == [2]
