"""Fashion-MNIST and MNIST from files that lie there, and what is said if they do not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from base.errors import DataError
from data_loader.image_datasets import MNIST, FashionMNIST, MissingFiles
from tests.data_loader.toy_sets import write_cifar10, write_idx


def write_set(root: Path, name: str = "FashionMNIST", sizes: tuple[int, int] = (20, 10)) -> Path:
    raw = root / name / "raw"
    for prefix, size in zip(("train", "t10k"), sizes, strict=True):
        generator = np.random.default_rng(size)
        write_idx(raw / f"{prefix}-images-idx3-ubyte", generator.integers(0, 256, (size, 28, 28)))
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(size) % 10)
    return raw


def test_images_and_labels_are_those_that_torchvision_reads(tmp_path: Path) -> None:
    from torchvision import datasets

    write_set(tmp_path)
    theirs, ours = datasets.FashionMNIST(str(tmp_path), train=False), FashionMNIST(tmp_path, train=False)
    images, labels = ours.as_tensors()
    assert images.shape == (10, 1, 28, 28) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert torch.equal(images[:, 0], theirs.data) and torch.equal(labels, theirs.targets)
    assert list(ours.classes) == theirs.classes
    image, label = ours[3]
    assert torch.equal(image, images[3]) and label == 3
    assert len(ours) == 10 and len(FashionMNIST(tmp_path)) == 20


def test_mnist_has_a_folder_of_its_own(tmp_path: Path) -> None:
    write_set(tmp_path, "MNIST")
    assert len(MNIST(tmp_path)) == 20 and len(MNIST.classes) == 10


def test_files_that_are_there_are_read_without_torchvision(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_cifar10(tmp_path)
    code = (
        "import sys; from data_loader.image_datasets import CIFAR10, FashionMNIST; "
        f"FashionMNIST({str(tmp_path)!r}); CIFAR10({str(tmp_path)!r}); print('torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_missing_files_are_named_with_where_to_put_them(tmp_path: Path) -> None:
    with pytest.raises(MissingFiles) as error:
        FashionMNIST(tmp_path, download=False)
    assert str(error.value) == (
        f"FashionMNIST: its files are not in {tmp_path}/FashionMNIST/raw and download is false; put there: "
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz"
    )
    assert error.value.exit_code == 5 and not (tmp_path / "FashionMNIST").exists()


def test_labels_of_another_set_are_noticed(tmp_path: Path) -> None:
    raw = write_set(tmp_path)
    (raw / "t10k-labels-idx1-ubyte").replace(raw / "train-labels-idx1-ubyte")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte has 20 images, .*labels-idx1-ubyte has 10 labels"):
        FashionMNIST(tmp_path)
