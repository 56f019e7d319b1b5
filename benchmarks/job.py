"""The job of a contestant, and the time stamps that it writes. Needs no torch."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

STAMPS = "BENCHMARK_STAMPS"
"""The environment variable with the path of the stamps file."""


@dataclass(frozen=True)
class Job:
    """The same work for every contestant: SGD on cross-entropy, one thread, seed 0."""

    data: str
    """A folder: `FashionMNIST/raw`, or `arrays.npz` with x and y."""
    model: dict[str, Any]
    """A component of the project: type and args."""
    batch: int = 64
    rate: float = 0.01
    epochs: int = 2
    evaluations: int = 0
    """The number of evaluations on the test images after the last epoch, each timed."""
    every_step: bool = False
    """Whether to stamp every optimizer step, not only the ends of epochs."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options for a single contestant."""

    @property
    def images(self) -> bool:
        return (Path(self.data) / "FashionMNIST").is_dir()

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Job:
        return cls(**json.loads(text))


def stamp(at: str, **figures: float) -> None:
    """Records the processor seconds of this process, the wall time in seconds, and the peak memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    line = {"at": at, "cpu": time.process_time(), "wall": time.perf_counter(), "peak": peak, **figures}
    with open(os.environ[STAMPS], "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def read_stamps(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
