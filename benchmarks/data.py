"""Generated data: noise with a bright block whose position encodes the class, so that a model can learn it."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.job import stamp

NAMES = {True: "train", False: "t10k"}


def write_images(folder: Path, train: int, test: int) -> None:
    """Writes Fashion-MNIST's four IDX files to `folder/FashionMNIST/raw`, with `train` and `test` images."""
    raw = folder / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in ((True, train), (False, test)):
        images, labels = blocks(count, 28, seed=int(part))
        name = raw / NAMES[part]
        Path(f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, *images.shape) + images.tobytes())
        Path(f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + labels.tobytes())


def blocks(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, side, side) and uint8 (count,)."""
    generator = np.random.default_rng(seed)
    labels = generator.permutation(np.arange(count, dtype=np.int64) % 10).astype(np.uint8)
    images = generator.integers(0, 90, (count, side, side), dtype=np.uint8)
    size = side // 4
    for label in range(10):
        row, column = divmod(label, 4)
        images[labels == label, row * size : (row + 1) * size, column * size : (column + 1) * size] += 120
    return images, labels


def write_colour(folder: Path, count: int) -> None:
    """`arrays.npz` in CIFAR's shape: uint8 (count, 3, 32, 32) and int64 (count,)."""
    images, labels = blocks(count, 32, seed=0)
    colour = np.repeat(images[:, None], 3, axis=1)
    np.savez(folder / "arrays.npz", x=colour, y=labels.astype(np.int64))


def write_vectors(folder: Path, count: int) -> None:
    """`arrays.npz`: float32 (count, 10), and which entry is the largest, int64 (count,)."""
    x = np.random.default_rng(0).random((count, 10), dtype=np.float32)
    np.savez(folder / "arrays.npz", x=x, y=x.argmax(1))


def tensors(folder: str, train: bool = True) -> tuple[Tensor, Tensor]:
    """Inputs in their stored type, images with a channel, and int64 labels; read only with NumPy."""
    arrays = Path(folder) / "arrays.npz"
    if arrays.exists():
        with np.load(arrays) as file:
            return torch.from_numpy(file["x"]), torch.from_numpy(file["y"])
    name = Path(folder) / "FashionMNIST" / "raw" / NAMES[train]
    images = np.fromfile(f"{name}-images-idx3-ubyte", np.uint8, offset=16).reshape(-1, 1, 28, 28)
    return torch.from_numpy(images), torch.from_numpy(
        np.fromfile(f"{name}-labels-idx1-ubyte", np.uint8, offset=8)
    ).long()


def floats(batch: Tensor) -> Tensor:
    """float32; uint8 0..255 becomes 0..1"""
    return batch if batch.is_floating_point() else batch.to(torch.float32).div_(255)


def stamp_end(model: nn.Module, folder: str) -> None:
    """Stamps the mean cross-entropy over the first 64 training samples, which shows that contestants did the same work,
    and the size of all stored samples in MiB.

    The model is in training mode, because the running averages of batch norm are not usable after a few steps.
    """
    inputs, targets = tensors(folder)
    model.train()
    with torch.no_grad():
        loss = nn.functional.cross_entropy(model(floats(inputs[:64])), targets[:64]).item()
    stamp("end", loss=loss, raw=(inputs.nbytes + targets.nbytes) / (1 << 20))
