"""The project as a beginner uses it: `python train.py -c` with a plain YAML file and all default features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from benchmarks.job import Job

PLUGIN = "benchmarks.watch"


def command(job: Job, folder: Path) -> list[str]:
    """The arguments for python. Writes the config into `folder`, where the run's folder is created, too."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config(job, folder), sort_keys=False), encoding="utf-8")
    return ["train.py", "-c", str(file), "--plugin", PLUGIN]


def config(job: Job, folder: Path) -> dict[str, Any]:
    """The config of a job. `job.options` override its keys; `a.b` is the key b in section a."""
    callbacks: list[Any] = [{"type": "StampEpochs", "args": {"data": job.data, "evaluations": job.evaluations}}]
    if job.every_step:
        callbacks.append("StampSteps")
    whole: dict[str, Any] = {
        "name": "benchmark",
        "plugins": [PLUGIN],
        "device": "cpu",
        "threads": 1,
        "data": data(job),
        "model": job.model,
        "loss": "CrossEntropyLoss",
        "metrics": ["accuracy"],
        "optimizer": {"type": "SGD", "args": {"lr": job.rate}},
        "trainer": {
            "epochs": job.epochs,
            "monitor": "min val_loss" if job.images else "off",
            "save_dir": str(folder / "saved"),
        },
        "callbacks": callbacks,
    }
    for path, value in job.options.items():
        *parents, key = path.split(".")
        section = whole
        for parent in parents:
            section = section.setdefault(parent, {})
        section[key] = value
    return whole


def data(job: Job) -> dict[str, Any]:
    loader = {"batch_size": job.batch}
    if not job.images:
        train = {"type": "Arrays", "args": {"path": f"{job.data}/arrays.npz"}}
        return {"train": train, "valid": None, "transform": {"train": ["ToFloat"]}, "loader": loader}
    train, valid = ({"type": "FashionMNIST", "args": {"root": job.data, "train": part}} for part in (True, False))
    transform = {"train": ["ToFloat"], "eval": ["ToFloat"]}
    return {"train": train, "valid": valid, "test": None, "transform": transform, "loader": loader}
