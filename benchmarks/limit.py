"""The limit: the best hand-written loop over tensors in memory, with nothing else in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from benchmarks.data import floats, stamp_end, tensors
from benchmarks.job import Job, stamp
from benchmarks.models import build

CLASSIFY = nn.CrossEntropyLoss()


def main(argv: Sequence[str]) -> None:
    job = Job.read(argv[0])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build(job.model)
    optimizer = torch.optim.SGD(model.parameters(), lr=job.rate)
    train, test = tensors(job.data), tensors(job.data, train=False)
    ready = list(zip(*(whole.split(job.batch) for whole in train), strict=True))
    bare = job.options.get("ready_made", False)
    for _ in range(job.epochs):
        total = torch.zeros(())
        for inputs, targets in ready if bare else shuffled(*train, job.batch):
            loss = CLASSIFY(model(inputs), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            if not bare:
                total += loss.detach()
            if job.every_step:
                stamp("step")
        if job.images:
            evaluate(model, *test, job.batch)
        stamp("epoch")
    for _ in range(job.evaluations):
        stamp("evaluate")
        loss_and_accuracy = evaluate(model, *test, job.batch)
        stamp("evaluated", loss=loss_and_accuracy[0])
    stamp_end(model, job.data)


def shuffled(inputs: Tensor, targets: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    order = torch.randperm(len(targets))
    for first in range(0, len(targets), batch):
        chosen = order[first : first + batch]
        yield floats(inputs.index_select(0, chosen)), targets.index_select(0, chosen)


def evaluate(model: nn.Module, inputs: Tensor, targets: Tensor, batch: int) -> tuple[float, float]:
    """Mean loss and accuracy."""
    loss, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    model.eval()
    with torch.inference_mode():
        for first in range(0, len(targets), batch):
            some = targets[first : first + batch]
            output = model(floats(inputs[first : first + batch]))
            loss += CLASSIFY(output, some) * len(some)
            hits += (output.argmax(1) == some).sum()
    model.train()
    return loss.item() / len(targets), hits.item() / len(targets)


if __name__ == "__main__":
    main(sys.argv[1:])
