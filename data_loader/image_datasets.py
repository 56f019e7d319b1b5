"""MNIST, Fashion-MNIST and CIFAR in memory, read from their IDX and binary files."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from base.errors import DataError, MissingFiles
from base.registry import DATASETS
from data_loader.samples import InMemoryDataset


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, or the gzipped one, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor of that many dimensions in an IDX file. DataError if header or length are wrong."""
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        content = np.frombuffer(bytearray(raw), dtype=np.uint8)  # torch needs memory that may be written to
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise _damaged(path, f"it has {len(content)} bytes, less than its header of {header}")
    expected = bytes((0, 0, 8, dimensions))
    if content[:4].tobytes() != expected:
        raise _damaged(path, f"it begins with {content[:4].tobytes().hex()}, expected {expected.hex()}")
    shape = np.frombuffer(content[4:header].tobytes(), dtype=">u4").tolist()
    length = header + math.prod(shape)
    if len(content) != length:
        shown = "x".join(map(str, shape))
        raise _damaged(path, f"it has {len(content)} bytes, its header promises {shown} values, {length} bytes")
    return torch.from_numpy(content[header:]).reshape(shape)


def _damaged(path: Path, what: str) -> DataError:
    gzipped = path.with_name(f"{path.name}.gz")
    remedy = f"{gzipped.name} beside it is read then" if gzipped.is_file() else "it is downloaded again then"
    return DataError(f"{path} is damaged: {what}; delete it, {remedy}")


@contextmanager
def _or_missing(files: str, download: bool, remedy: str) -> Iterator[None]:
    """For a download: MissingFiles, which names the `files`, if it is not allowed or no mirror answers."""
    from data_loader.download import Unreachable

    try:
        if not download:
            raise Unreachable("download is false")
        yield
    except Unreachable as error:
        raise MissingFiles(f"{files} and {error}; {remedy}") from error


class IdxImages(InMemoryDataset):
    """Images and class numbers from four IDX files in `root/<class name>/raw`, gzipped or not.

    A sample is (uint8 (1, 28, 28), class number). Missing files are downloaded through torchvision (mirrors,
    checksums) unless `download` is false. DataError if they are missing after that, or damaged.
    """

    classes: ClassVar[tuple[str, ...]]
    FILES: ClassVar = {
        True: ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        False: ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    }

    def __init__(self, root: str | Path, train: bool = True, download: bool = True) -> None:
        name = type(self).__name__
        folder = Path(root) / name / "raw"
        files = [find_idx(folder, file) for file in self.FILES[train]]
        if None in files:
            names = ", ".join(f"{file}.gz" for pair in self.FILES.values() for file in pair)
            with _or_missing(f"{name}: its files are not in {folder}", download, f"put there: {names}"):
                from data_loader.download import download_idx

                download_idx(name, Path(root))
            files = [find_idx(folder, file) for file in self.FILES[train]]
        images_file, labels_file = files
        assert images_file and labels_file
        images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_file} has {len(images)} images, {labels_file} has {len(labels)} labels")
        super().__init__(images.unsqueeze(1), labels.long())


@DATASETS.register
class FashionMNIST(IdxImages):
    """Zalando's garments: 60,000 training and 10,000 test images, 28x28 uint8, ten classes."""

    classes = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@DATASETS.register
class MNIST(IdxImages):
    """Handwritten digits: 60,000 training and 10,000 test images, 28x28 uint8, ten classes."""

    classes = tuple("0123456789")


PIXELS = 3 * 32 * 32


class CifarImages(InMemoryDataset):
    """Images and class numbers from `root/<FOLDER>`: https://www.cs.toronto.edu/~kriz/cifar.html, "binary version".

    A sample is (uint8 (3, 32, 32), class number). A record in a file is LABELS bytes, the last of them the class, then
    the red, green and blue pixels row by row. Missing files are downloaded (162 MB, MD5 verified) unless `download` is
    false. DataError if they are missing after that, or damaged.

    The python version in `root/<FOLDER>-py` that torchvision leaves there is not read: it is a pickle, which can run
    code.
    """

    URL: ClassVar[str]
    MD5: ClassVar[str]
    FOLDER: ClassVar[str]
    PYTHON: ClassVar[str]
    LABELS: ClassVar[int]
    FILES: ClassVar[Mapping[bool, Sequence[str]]]
    NAMES: ClassVar[str]
    CLASSES: ClassVar[int]

    def __init__(self, root: str | Path, train: bool = True, download: bool = True) -> None:
        folder = Path(root) / self.FOLDER
        files = [folder / name for name in self.FILES[train]]
        if not all(file.is_file() for file in files):
            self._fetch(folder, download)
        sizes = [self._records(file) for file in files]
        images = np.empty((sum(sizes), PIXELS), dtype=np.uint8)
        labels = np.empty(len(images), dtype=np.int64)
        end = 0
        for file, size in zip(files, sizes, strict=True):
            records, begin, end = np.fromfile(file, dtype=np.uint8).reshape(size, -1), end, end + size
            images[begin:end], labels[begin:end] = records[:, self.LABELS :], records[:, self.LABELS - 1]
            if (largest := int(labels[begin:end].max())) >= self.CLASSES:
                raise _damaged(file, f"it has the class {largest}, and there are {self.CLASSES}")
        self.classes = self._names(folder / self.NAMES)
        super().__init__(torch.from_numpy(images).reshape(-1, 3, 32, 32), torch.from_numpy(labels))

    def _records(self, file: Path) -> int:
        try:
            size = file.stat().st_size
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror}") from error
        each = self.LABELS + PIXELS
        if not size or size % each:
            raise _damaged(
                file, f"it has {size} bytes, which is no multiple of {each}, the bytes of an image and its label"
            )
        return size // each

    def _names(self, file: Path) -> tuple[str, ...]:
        """The classes by name, or by number if the file of their names is not there."""
        names = file.read_text(encoding="utf-8").split() if file.is_file() else []
        return tuple(names if len(names) == self.CLASSES else map(str, range(self.CLASSES)))

    def _fetch(self, folder: Path, download: bool) -> None:
        from data_loader.download import download_archive

        name, files = type(self).__name__, [*self.FILES[True], *self.FILES[False], self.NAMES]
        remedy = f"unpack {self.URL} in {folder.parent}"
        if (folder.parent / self.PYTHON).is_dir():
            remedy += f" ({self.PYTHON} beside it is the python version, a pickle: it is not read)"
        with _or_missing(f"{name}: its files are not in {folder}", download, remedy):
            download_archive(name, self.URL, self.MD5, folder, files)


@DATASETS.register
class CIFAR10(CifarImages):
    """Ten kinds of animals and vehicles: 50,000 training and 10,000 test images, 3x32x32 uint8."""

    URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
    FOLDER, PYTHON, LABELS = "cifar-10-batches-bin", "cifar-10-batches-py", 1
    FILES: ClassVar = {True: [f"data_batch_{number}.bin" for number in range(1, 6)], False: ["test_batch.bin"]}
    NAMES, CLASSES = "batches.meta.txt", 10


@DATASETS.register
class CIFAR100(CifarImages):
    """A hundred kinds of things: 50,000 training and 10,000 test images, 3x32x32 uint8; no coarse labels."""

    URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    MD5 = "03b5dce01913d631647c71ecec9e9cb8"
    FOLDER, PYTHON, LABELS = "cifar-100-binary", "cifar-100-python", 2
    FILES: ClassVar = {True: ["train.bin"], False: ["test.bin"]}
    NAMES, CLASSES = "fine_label_names.txt", 100
