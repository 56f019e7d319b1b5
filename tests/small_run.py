"""Small runs for tests: a config as a dict, data made on the spot, and what of two runs must be equal."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from base import CALLBACKS, Callback, fit
from base.checkpoint.store import CheckpointStore
from base.run import Run

CLOCK = {"seconds", "samples_per_second"}


def write_garments(root: Path, train: int = 320, test: int = 96) -> None:
    """Fashion-MNIST's files with images whose bright block tells the class, on noise."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        labels = generator.permutation(np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 90, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[9 * row : 9 * row + 8, 7 * column : 7 * column + 6] += 120
        for kind, header, data in (
            ("images-idx3", struct.pack(">4i", 2051, count, 28, 28), images.tobytes()),
            ("labels-idx1", struct.pack(">2i", 2049, count), labels.tobytes()),
        ):
            (raw / f"{name}-{kind}-ubyte").write_bytes(header + data)
            (raw / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + data, 1))


def small_config(folder: Path, data: Path, **changes: Any) -> Path:
    """A config file for a run of four steps an epoch; `changes` are laid on, `a__b=1` meaning `a.b: 1`."""
    config: dict[str, Any] = {
        "name": "small",
        "device": "cpu",
        "data": {
            "train": {"type": "FashionMNIST", "args": {"root": str(data), "download": False}},
            "valid": 64,
            "transform": {"train": [{"type": "ToFloat"}], "eval": [{"type": "ToFloat"}]},
            "loader": {"batch_size": 64},
        },
        "model": {"type": "MLP", "args": {"hidden": [16]}},
        "loss": {"type": "CrossEntropyLoss"},
        "metrics": [{"type": "accuracy"}],
        "optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.9}},
        "trainer": {"epochs": 3, "save_dir": str(folder / "saved"), "verbosity": 0, "tensorboard": False},
    }
    for path, value in changes.items():
        *parents, key = path.split("__")
        section = config
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = value
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return file


@CALLBACKS.register
class StopAt(Callback):
    """Ends the run after a step, as a signal would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Any, terms: Any) -> None:
        if trainer.progress.step == self.step:
            trainer.stop("test")


def stopped_and_resumed(config: Path, *steps: int) -> Run:
    """Stops after each of `steps` and goes on, to the end."""
    run = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": steps[0]}}]})
    assert run.reason == "test"
    for step in steps[1:]:
        run = fit(resume=run.path, overrides={"callbacks": [{"type": "StopAt", "args": {"step": step}}]})
        assert run.reason == "test"
    return fit(resume=run.path, overrides={"callbacks": []})


def rows(run: Run) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in CLOCK} for line in lines]


def last_state(run: Run) -> dict[str, Any]:
    """Everything in the newest save but times and the lengths of logs."""
    saved = CheckpointStore(run.path / "checkpoints").load("last")
    state = {"weights": saved.weights(), **saved.state}
    del state["logs"], state["config"]  # it names the folder of the runs
    state["progress"] = {k: v for k, v in state["progress"].items() if not k.endswith("seconds")}
    return state


def assert_same(one: Any, other: Any, place: str = "") -> None:
    """Equal to the last bit, tensors too."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{place}.{i}")
    else:
        assert one == other, place


def assert_same_run(one: Run, other: Run) -> None:
    assert rows(one) == rows(other)
    assert_same(last_state(one), last_state(other))
    assert step_of_best(one) == step_of_best(other)


def step_of_best(run: Run) -> str:
    """The counter of saves may differ between two equal runs: a stopped one has saved once more."""
    return (CheckpointStore(run.path / "checkpoints").best() or "").rpartition("-")[2]
