"""Fashion-MNIST and MNIST, held as tensors; read without torchvision once the files are there."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from base.errors import DataError
from base.registry import DATASETS
from data_loader.download import MissingFiles, Unreachable, download_idx
from data_loader.held import Held
from data_loader.idx import find_idx, read_idx


class IdxImages(Held):
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
            self._fetch(name, Path(root), folder, download)
            files = [find_idx(folder, file) for file in self.FILES[train]]
        images_file, labels_file = files
        assert images_file and labels_file
        images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
        if len(images) != len(labels):
            raise DataError(f"{images_file} has {len(images)} images, {labels_file} has {len(labels)} labels")
        super().__init__(images.unsqueeze(1), labels.long())

    @classmethod
    def _fetch(cls, name: str, root: Path, folder: Path, download: bool) -> None:
        try:
            if not download:
                raise Unreachable("download is false")
            download_idx(name, root)
        except Unreachable as error:
            names = ", ".join(f"{file}.gz" for pair in cls.FILES.values() for file in pair)
            raise MissingFiles(f"{name}: its files are not in {folder} and {error}; put there: {names}") from error


@DATASETS.register
class FashionMNIST(IdxImages):
    """Zalando's garments: 60,000 training and 10,000 test images, 28x28 uint8, ten classes."""

    classes = (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    )


@DATASETS.register
class MNIST(IdxImages):
    """Handwritten digits: 60,000 training and 10,000 test images, 28x28 uint8, ten classes."""

    classes = tuple("0123456789")
