"""configs/quickstart.yaml against the tutorial's loop, written out here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import ToTensor

from base import fit
from tests.small_run import rows, write_garments

ROOT = Path(__file__).resolve().parents[2]


class NeuralNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear_relu_stack(self.flatten(x))


def tutorial(root: Path, epochs: int) -> tuple[list[str], list[list[float]], nn.Module]:
    """The printed lines, the losses of every step by epoch, and the trained model."""
    lines: list[str] = []
    losses: list[list[float]] = []
    train = DataLoader(datasets.FashionMNIST(root, train=True, transform=ToTensor()), batch_size=64)
    test = DataLoader(datasets.FashionMNIST(root, train=False, transform=ToTensor()), batch_size=64)
    model, loss_fn = NeuralNetwork(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        lines += [f"Epoch {epoch + 1}", "-------------------------------"]
        losses.append([])
        model.train()
        for batch, (x, y) in enumerate(train):
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses[-1].append(loss.item())
            if batch % 100 == 0:
                lines.append(f"loss: {loss.item():>7f}  [{(batch + 1) * len(x):>5d}/{len(train.dataset):>5d}]")
        model.eval()
        test_loss, correct = 0.0, 0.0
        with torch.no_grad():
            for x, y in test:
                pred = model(x)
                test_loss += loss_fn(pred, y).item() * len(x)
                correct += (pred.argmax(1) == y).type(torch.float).sum().item()
        test_loss, correct = test_loss / len(test.dataset), correct / len(test.dataset)
        lines += ["Test Error: ", f" Accuracy: {(100 * correct):>0.1f}%, Avg loss: {test_loss:>8f} ", ""]
    return [*lines, "Done!"], losses, model


def test_the_quickstart_is_the_tutorial_bit_for_bit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_garments(tmp_path, train=7000, test=96)
    roots = {f"data.{name}.args.root": str(tmp_path) for name in ("train", "valid", "test")}
    run = fit(
        ROOT / "configs" / "quickstart.yaml",
        {**roots, "trainer.epochs": 2, "trainer.save_dir": str(tmp_path / "saved"), "device": "cpu", "seed": 3},
    )
    printed = capsys.readouterr().out.splitlines()

    torch.manual_seed(3)
    lines, losses, model = tutorial(tmp_path, epochs=2)
    assert printed == lines
    sizes = [64] * 109 + [24]
    means = [sum(loss * size for loss, size in zip(epoch, sizes, strict=True)) / 7000 for epoch in losses]
    assert [row["loss"] for row in rows(run)[1:-1]] == means
    for ours, theirs in zip(run.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
