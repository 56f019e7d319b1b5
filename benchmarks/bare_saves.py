"""A bare torch.save of model and optimizer, with and without fsync, and a safe torch.load of it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from benchmarks.data import tensors
from benchmarks.job import Job, stamp
from benchmarks.models import build


def main(argv: Sequence[str]) -> None:
    job = Job.read(argv[0])
    torch.set_num_threads(1)
    model = build(job.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.rate, momentum=0.9)
    inputs, targets = tensors(job.data)
    path = Path(job.options["path"])
    for _ in range(len(targets) // job.batch):
        nn.functional.cross_entropy(model(inputs[: job.batch]), targets[: job.batch]).backward()
        optimizer.step()
        optimizer.zero_grad()
        before = time.perf_counter()
        with path.open("wb") as file:
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
            if job.options.get("fsync"):
                file.flush()
                os.fsync(file.fileno())
        seconds = time.perf_counter() - before
        stamp("saved", blocked=seconds, saved=seconds)
    before = time.perf_counter()
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    stamp("loaded", load=time.perf_counter() - before)


if __name__ == "__main__":
    main(sys.argv[1:])
