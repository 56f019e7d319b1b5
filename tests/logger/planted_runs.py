"""Runs as files, without training: what a run's folder holds, written by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from base.config.reader import to_yaml

CONFIG: dict[str, Any] = {
    "name": "small",
    "seed": 0,
    "model": {"type": "MLP", "args": {"hidden": [16]}},
    "metrics": [{"type": "accuracy", "args": {}, "name": None}],
    "optimizer": {"type": "SGD", "args": {"lr": 0.1}, "fused": False},
    "trainer": {"epochs": 3, "monitor": "max val_accuracy", "save_dir": "saved"},
}


def plant(
    save_dir: Path,
    stamp: str,
    accuracies: Iterable[float | None] = (0.5, 0.7, 0.6),
    *,
    end: str | None = "finished",
    name: str = "small",
    config: Mapping[str, Any] = {},
    environment: Mapping[str, Any] | None = None,
) -> Path:
    """A run with these accuracies on the validation data, and a loss of one minus that; `config` as `a__b=1`."""
    run = save_dir / name / stamp
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("# made by hand\n" + to_yaml(changed(CONFIG, config)))
    rows = [epoch(number, accuracy) for number, accuracy in enumerate(accuracies, 1)]
    write_lines(run, [{"format": 1, "data": "real", "name": name}, *rows, *([{"end": end}] if end else [])])
    if environment is not None:
        (run / "environment.json").write_text(json.dumps(environment))
    return run


def epoch(number: int, accuracy: float | None) -> dict[str, Any]:
    row = {"epoch": number, "step": 10 * number, "phase": "epoch", "loss": 1.0 / number, "val_accuracy": accuracy}
    row |= {"val_loss": None if accuracy is None else 1 - accuracy, "lr": 0.1, "seconds": 30.0}
    return row | ({"nonfinite": ["val_accuracy", "val_loss"]} if accuracy is None else {})


def write_lines(run: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def changed(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new: dict[str, Any] = json.loads(json.dumps(config))
    for path, value in changes.items():
        *parents, key = path.split("__")
        section = new
        for parent in parents:
            section = section[parent]
        section[key] = value
    return new
