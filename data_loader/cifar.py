"""CIFAR-10 and CIFAR-100, held as tensors; from the binary version of their files, so that nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from base.errors import DataError
from base.registry import DATASETS
from data_loader.download import MissingFiles, Unreachable, download_archive
from data_loader.held import Held

PIXELS = 3 * 32 * 32


class CifarImages(Held):
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
        name, files = type(self).__name__, [*self.FILES[True], *self.FILES[False], self.NAMES]
        try:
            if not download:
                raise Unreachable("download is false")
            download_archive(name, self.URL, self.MD5, folder, files)
        except Unreachable as error:
            what = f"{name}: its files are not in {folder} and {error}; unpack {self.URL} in {folder.parent}"
            if (folder.parent / self.PYTHON).is_dir():
                what += f" ({self.PYTHON} beside it is the python version, a pickle: it is not read)"
            raise MissingFiles(what) from error


def _damaged(file: Path, what: str) -> DataError:
    return DataError(f"{file} is damaged: {what}; delete it, it is downloaded again then")


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
