"""Checkpoints of pytorch-template become runs; no code in them runs."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from torch import nn

from base import MODELS, BaseDataLoader, BaseModel, evaluate, fit
from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError, ConfigError, UserError
from base.legacy.checkpoint_file import Inert, convert, read_old_checkpoint
from base.registry import DATASETS

CONFIG: dict[str, Any] = {
    "name": "Old",
    "n_gpu": 1,
    "arch": {"type": "OldLine", "args": {"width": 3}},
    "data_loader": {"type": "OldLoader", "args": {"batch_size": 8, "validation_split": 0.25}},
    "optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
    "loss": "MSELoss",
    "metrics": [],
    "lr_scheduler": {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}},
    "trainer": {"epochs": 3, "save_dir": "/nowhere", "verbosity": 0, "monitor": "min val_loss", "tensorboard": False},
    "own": {"knob": 1},
}


@MODELS.register
class OldLine(BaseModel):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.line = nn.Linear(width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.line(x)


@MODELS.register
class OldPlane(OldLine):
    def __init__(self) -> None:
        super().__init__()
        self.plane = self.line
        del self.line

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.plane(x)


@DATASETS.register
class OldLoader(BaseDataLoader):
    def __init__(self, batch_size: int, validation_split: float = 0.0, training: bool = True) -> None:
        x = torch.randn(32, 3, generator=torch.Generator().manual_seed(int(training)))
        data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
        super().__init__(data, batch_size, training, validation_split, 0)


class ConfigParser:
    """What pytorch-template pickled beside the weights."""

    __module__ = "parse_config"

    def __init__(self, config: dict[str, Any]) -> None:
        self._config, self.resume, self._save_dir = config, None, PurePosixPath("saved/models/Old")


@pytest.fixture
def old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a checkpoint after two epochs, with `more` in it."""
    module = types.ModuleType("parse_config")
    module.ConfigParser = ConfigParser  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "parse_config", module)
    monkeypatch.chdir(tmp_path)

    def write(config: Any = CONFIG, legacy: bool = False, **more: Any) -> Path:
        torch.manual_seed(1)
        model = OldLine()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9)
        model(torch.ones(2, 3)).sum().backward()
        optimizer.step()
        content = {
            "arch": "OldLine",
            "epoch": 2,
            "state_dict": {f"module.{name}": value for name, value in model.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "monitor_best": 0.5,
            "config": ConfigParser(config) if config else None,
            **more,
        }
        torch.save(content, "model_best.pth", _use_new_zipfile_serialization=not legacy)
        return Path("model_best.pth")

    return write


@pytest.mark.parametrize("legacy", [False, True])
def test_what_it_holds_is_read(old_file: Callable[..., Path], legacy: bool) -> None:
    old = read_old_checkpoint(old_file(legacy=legacy))
    assert (old.epoch, old.best, list(old.weights)) == (2, 0.5, ["line.weight", "line.bias"])
    assert old.config == CONFIG
    assert old.optimizer is not None and old.optimizer["param_groups"][0]["lr"] == 0.025
    assert old.replaced[0] == "parse_config.ConfigParser"


def test_it_becomes_a_run_that_goes_on(old_file: Callable[..., Path]) -> None:
    path = old_file()
    made = convert(path)
    assert made.parent == Path("saved/Old")
    saved = CheckpointStore(made / "checkpoints").load("best")
    weights = read_old_checkpoint(path).weights
    assert saved.weights().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in saved.weights().items())
    assert (saved.state["progress"]["epoch"], saved.state["progress"]["step"]) == (3, 6)
    optimizer = saved.state["optimizers"]["optimizer"]
    assert optimizer["param_groups"][0]["lr"] == 0.025
    assert torch.equal(optimizer["state"][0]["momentum_buffer"], torch.tensor([[2.0, 2.0, 2.0]]))
    assert evaluate(made, pictures=False)["loss"] > 0
    run = fit(resume=made)
    assert (run.reason, run.trainer.progress.step, run.config["own"]["knob"]) == ("finished", 9, 1)
    begun = fit(resume=None, config="saved/Old/" + made.name + "/config.yaml", overrides={"init_from": str(made)})
    assert begun.reason == "finished"


def test_a_schedule_by_step_is_moved_to_the_step_that_is_reached(old_file: Callable[..., Path]) -> None:
    by_step = {"type": "OneCycleLR", "args": {"max_lr": 0.2, "total_steps": "${trainer.total_steps}"}}
    made = convert(old_file({**CONFIG, "lr_scheduler": by_step}))
    saved = CheckpointStore(made / "checkpoints").load("best")
    assert saved.state["schedules"]["optimizer"]["scheduler"]["last_epoch"] == 6
    assert fit(resume=made).trainer.progress.step == 9


def test_the_projects_config_goes_before_the_one_inside(old_file: Callable[..., Path]) -> None:
    path = old_file(config=None)
    with pytest.raises(UserError, match="holds no config that can be read: name the project's with -c"):
        convert(path)
    with pytest.raises(CheckpointError, match=r"does not fit the model:[\s\S]*line.weight"):
        convert(old_file({**CONFIG, "arch": {"type": "OldPlane"}}))
    with pytest.raises(ConfigError, match=r"model_best.pth: arch.type: no model is named 'Gone'"):
        convert(old_file({**CONFIG, "arch": {"type": "Gone"}}))


class Payload:
    """Pickled, it is a call."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.call = (function, arguments, state) if state is not None else (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def test_nothing_in_a_file_runs(old_file: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    payloads = [
        Payload(exec, f"open({str(mark)!r}, 'w')"),
        Payload(eval, f"open({str(mark)!r}, 'w')"),
        Payload(subprocess.call, ["touch", str(mark)]),
        Payload(ConfigParser, {"type": Payload(subprocess.Popen, ["touch", str(mark)])}, state={"__setstate__": 1}),
        Payload(torch.hub.load_state_dict_from_url, "file:///etc/hostname"),
    ]
    old = read_old_checkpoint(old_file(extra=payloads, config={**CONFIG, "own": {"inside": payloads[0], "kept": 2}}))
    assert {"builtins.exec", "builtins.eval", "commands.call", "commands.Popen"} <= set(old.replaced)
    assert old.config is not None and old.config["own"] == {"kept": 2}
    convert(old.path)
    assert not mark.exists()
    for blocked in (Payload(os.system, f"touch {mark}"), Payload(Path.touch, mark), Payload(type(mark).touch, mark)):
        with pytest.raises(CheckpointError, match=r"refused, .*; nothing of it was run"):
            read_old_checkpoint(old_file(extra=blocked))
        assert not mark.exists()


def test_other_files_are_told_from_it(old_file: Callable[..., Path], tmp_path: Path) -> None:
    torch.save({"weights": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match="found weights, expected a checkpoint of pytorch-template"):
        read_old_checkpoint(tmp_path / "other.pth")
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match=r"text.pth: refused"):
        read_old_checkpoint(tmp_path / "text.pth")
    with pytest.raises(CheckpointError, match=r"gone.pth cannot be read: No such file"):
        read_old_checkpoint(tmp_path / "gone.pth")
    assert not hasattr(Inert(1, key=2), "key")
