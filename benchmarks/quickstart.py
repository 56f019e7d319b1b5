"""PyTorch's quickstart as its tutorial writes it: torchvision's FashionMNIST, ToTensor, a DataLoader.

Its two functions are its own; the model, the learning rate and the stamps are the benchmark's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.data import floats, stamp_end, tensors
from benchmarks.job import Job, stamp
from benchmarks.models import build


def main(argv: Sequence[str]) -> None:
    job = Job.read(argv[0])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    train_dataloader = DataLoader(dataset(job, train=True), batch_size=job.batch)
    test_dataloader = DataLoader(dataset(job, train=False), batch_size=job.batch)
    model = build(job.model)
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=job.rate)
    for epoch in range(job.epochs):
        print(f"Epoch {epoch + 1}\n-------------------------------")
        train(train_dataloader, model, loss_fn, optimizer, stamp_steps=job.every_step)
        if job.images:
            test(test_dataloader, model, loss_fn)
        stamp("epoch")
    for _ in range(job.evaluations):
        stamp("evaluate")
        stamp("evaluated", loss=test(test_dataloader, model, loss_fn))
    stamp_end(model, job.data)


def dataset(job: Job, train: bool) -> Dataset[Any]:
    if not job.images:
        inputs, targets = tensors(job.data)
        return TensorDataset(floats(inputs), targets)
    from torchvision import datasets
    from torchvision.transforms import ToTensor

    return datasets.FashionMNIST(root=job.data, train=train, download=False, transform=ToTensor())


def train(dataloader: DataLoader[Any], model: nn.Module, loss_fn: nn.Module, optimizer: Any, stamp_steps: bool) -> None:
    size = len(dataloader.dataset)  # type: ignore[arg-type]
    model.train()
    for batch, (X, y) in enumerate(dataloader):
        pred = model(X)
        loss = loss_fn(pred, y)

        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

        if stamp_steps:
            stamp("step")
        if batch % 100 == 0:
            loss, current = loss.item(), (batch + 1) * len(X)
            print(f"loss: {loss:>7f}  [{current:>5d}/{size:>5d}]")


def test(dataloader: DataLoader[Any], model: nn.Module, loss_fn: nn.Module) -> float:
    size = len(dataloader.dataset)  # type: ignore[arg-type]
    num_batches = len(dataloader)
    model.eval()
    test_loss, correct = 0.0, 0.0
    with torch.no_grad():
        for X, y in dataloader:
            pred = model(X)
            test_loss += loss_fn(pred, y).item()
            correct += (pred.argmax(1) == y).type(torch.float).sum().item()
    test_loss /= num_batches
    correct /= size
    print(f"Test Error: \n Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f} \n")
    return test_loss


if __name__ == "__main__":
    main(sys.argv[1:])
