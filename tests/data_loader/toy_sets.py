"""Small datasets of every kind, and a `data` section around them."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from base.config.keys import DataConfig
from base.registry import DATASETS, FUNCTIONS, LOADERS, SAMPLERS, TRANSFORMS
from data_loader.loaders import LoadedData

Named = namedtuple("Named", "image label")


@DATASETS.register
class ToyImages(Dataset[Any]):
    """Random images, uint8 (channels, 12, 10), whose class is their index modulo `num_classes`."""

    def __init__(self, size: int = 50, channels: int = 1, num_classes: int = 5, train: bool = True) -> None:
        generator = torch.Generator().manual_seed(int(train))
        self.images = torch.randint(0, 256, (size, channels, 12, 10), dtype=torch.uint8, generator=generator)
        self.labels = torch.arange(size) % num_classes

    def as_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images, self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.images[index], int(self.labels[index])


@DATASETS.register
class ToyNoClasses(ToyImages):
    """Its targets are no class numbers."""

    def as_tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images, self.labels / 2


@DATASETS.register
class ToyWords(Dataset[Any]):
    """Dicts of texts, numbers and nested tensors."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"text": f"word {index}", "target": index % 2, "nested": {"pair": (torch.full((3,), index), index / 2)}}


@DATASETS.register
class ToyNamed(ToyImages):
    """Named tuples, one by one only."""

    as_tensors = None  # type: ignore[assignment]

    def __getitem__(self, index: int) -> Any:
        return Named(self.images[index], int(self.labels[index]))


@DATASETS.register
class ToyNoise(Dataset[Any]):
    """Draws from every default generator while it is read; what was drawn is the sample."""

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.tensor([random.random(), np.random.rand(), torch.rand(()).item(), index]), index


@DATASETS.register
class ToyTogether(Dataset[Any]):
    """Reads several samples at once; each is its index and what was drawn for all of them."""

    def __init__(self, broken: int = -1) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 20

    def __getitems__(self, indices: list[int]) -> list[tuple[torch.Tensor, int]]:
        if self.broken in indices:
            raise KeyError("no such row")
        noise = random.random()
        return [(torch.tensor([index, noise]), index) for index in indices]

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.__getitems__([index])[0]


@DATASETS.register
class ToyFolder(Dataset[Any]):
    """Images of different sizes; number `broken` cannot be read."""

    def __init__(self, broken: Any = -1, kill: bool = False, memory: bool = False, size: int = 8) -> None:
        self.samples = [(f"photos/{index}.png", index % 2) for index in range(size)]
        self.broken, self.kill, self.memory = broken, kill, memory

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index in (self.broken if isinstance(self.broken, range) else (self.broken,)):
            if self.memory:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError("cannot identify\nimage")
        return torch.full((1, 8 + index, 9), float(index)), self.samples[index][1]


@DATASETS.register
class ToyRare(Dataset[Any]):
    """Twelve images of Fashion-MNIST's form, of which the `broken` ones cannot be read."""

    def __init__(self, broken: list[int]) -> None:
        self.broken = broken

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if index in self.broken:
            raise OSError("cannot be read")
        return torch.full((1, 28, 28), index, dtype=torch.uint8), index % 10


@DATASETS.register
class ToyStream(IterableDataset[Any]):
    """Counts; can say where it stands if `resumable`; `breaks` instead of giving that number."""

    def __init__(
        self,
        size: int = 20,
        resumable: bool = False,
        endless: bool = False,
        breaks: int | None = None,
        says: int | None = None,
    ) -> None:
        self.size, self.endless, self.breaks, self.next, self.read = size, endless, breaks, 0, 0
        self.says = size if says is None else says
        if resumable:
            self.state_dict = lambda: {"next": self.next}
            self.load_state_dict = lambda state: setattr(self, "next", state["next"])

    def __len__(self) -> int:
        return self.says

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        while self.endless or self.next < self.size:
            if self.next == self.breaks:
                raise OSError("the connection is gone")
            self.next, self.read = self.next + 1, self.read + 1
            yield torch.tensor([self.next - 1, random.random()]), self.next - 1
        self.next = 0


@DATASETS.register
class ToyShuffledStream(IterableDataset[Any]):
    """Counts in an order that follows from the epoch that it is told."""

    epoch = -1

    def __len__(self) -> int:
        return 20

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter([(i, i) for i in random.Random(self.epoch).sample(range(20), 20)])


@DATASETS.register
class ToyPictures(ToyStream):
    """80 images of Fashion-MNIST's form, read one after another; can say where it stands."""

    def __init__(self) -> None:
        super().__init__(80, resumable=True)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for _, number in super().__iter__():
            image = torch.randint(0, 90, (1, 28, 28), generator=torch.Generator().manual_seed(number))
            yield image.to(torch.uint8) + 16 * (number % 10), number % 10


@DATASETS.register
class ToyUnmeasured(IterableDataset[Any]):
    """Does not say how many samples it has: `size`, or no end."""

    def __init__(self, size: int | None = None) -> None:
        self.size = size

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        for number in itertools.count() if self.size is None else range(self.size):
            image = torch.full((1, 28, 28), number % 7, dtype=torch.uint8)
            yield image, number % 10


@DATASETS.register
class ToySharded(ToyStream):
    """Gives each worker a part of its own, as torch's documentation shows it."""

    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        info = get_worker_info()
        mine = slice(info.id, None, info.num_workers) if info else slice(None)
        for number in range(self.size)[mine]:
            if number == self.breaks:
                raise OSError("the connection is gone")
            yield torch.tensor([number, random.random()]), number


@DATASETS.register
class ToySet:
    """No dataset at all."""


@SAMPLERS.register
class Repeats:
    """Each index as often as it says, drawn anew by Python's generator."""

    made = 0

    def __init__(self, data_source: Any, share: float) -> None:
        Repeats.made += 1
        self.history = Repeats.made
        self.indices = random.choices(range(len(data_source)), k=int(share * len(data_source)))

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


@TRANSFORMS.register
def jitter(image: Any) -> torch.Tensor:
    """Foreign: draws from the default generators."""
    return torch.as_tensor(image).float() * random.random() + torch.rand(()) + np.random.rand()


@TRANSFORMS.register
class Counted:
    """Foreign: counts the samples it sees."""

    seen = 0

    def __call__(self, value: Any) -> Any:
        Counted.seen += 1
        return value


@TRANSFORMS.register
def fail_on_bright(image: torch.Tensor) -> torch.Tensor:
    if image.float().mean() > 140:
        raise RuntimeError("too bright")
    return image.float()


@TRANSFORMS.register
def fail_on_eighth(value: torch.Tensor) -> torch.Tensor:
    if value[0] == 7:
        raise ValueError("the eighth")
    return value


@TRANSFORMS.register
def fail_always(value: torch.Tensor) -> torch.Tensor:
    raise ValueError("always")


@FUNCTIONS.register
def as_sets(samples: list[Any]) -> dict[str, Any]:
    """A collate function."""
    return {"images": torch.stack([image for image, _ in samples]), "labels": [label for _, label in samples]}


@FUNCTIONS.register
def less_one(target: int) -> int:
    return target - 1


@FUNCTIONS.register
def slow(worker: int) -> None:
    time.sleep(1)


def components(*names: Any) -> list[dict[str, Any]]:
    """`"ToFloat"`, or `("RandomCrop", {"size": 8})`"""
    pairs = [(name, {}) if isinstance(name, str) else name for name in names]
    return [{"type": name, "args": args} for name, args in pairs]


AUGMENTED = components(
    ("RandomCrop", {"size": [12, 10], "padding": 2}),
    "RandomHorizontalFlip",
    ("RandomAffine", {"degrees": 20, "translate": [0.1, 0.1], "scale": [0.8, 1.2], "shear": 5}),
    "ToFloat",
    ("Normalize", {"mean": [0.3], "std": [0.4]}),
    ("RandomErasing", {"value": 0.5}),
)


def make(
    train: str | dict[str, Any] = "ToyImages",
    args: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    kept: Any = None,
    transform: Any = (),
    eval_transform: Any = (),
    loader: dict[str, Any] | None = None,
    **data: Any,
) -> LoadedData:
    """What `standard` makes of a `data` section."""
    section = {
        "train": {"type": train, "args": args or {}},
        "transform": {"train": list(transform), "eval": list(eval_transform)},
        "loader": {"batch_size": 8, **(loader or {})},
        **data,
    }
    made: LoadedData = LOADERS.get("standard")(
        DataConfig.model_validate(section), seed=seed, device=torch.device("cpu"), kept=kept
    )
    return made


def equal(left: Any, right: Any) -> bool:
    """The same values to the last bit in the same containers."""
    if isinstance(left, torch.Tensor):
        return isinstance(right, torch.Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, dict):
        return isinstance(right, dict) and left.keys() == right.keys() and all(equal(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        same = type(left) is type(right) and len(left) == len(right)
        return same and all(equal(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


def write_idx(path: Path, values: np.ndarray[Any, Any]) -> None:
    """An IDX file of uint8 values."""
    header = bytes((0, 0, 8, values.ndim)) + np.array(values.shape, dtype=">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def write_cifar10(root: Path, train: int = 10, test: int = 20) -> Path:
    """Five files of `train` images each and one of `test`; the brightness of an image tells its class."""
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        count = test if name == "test_batch" else train
        labels = (np.arange(count) + number) % 10
        pixels = generator.integers(0, 60, (count, 3072)) + 20 * labels[:, None]
        (folder / f"{name}.bin").write_bytes(np.column_stack([labels, pixels]).astype(np.uint8).tobytes())
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    (folder / "batches.meta.txt").write_text("\n".join(names.split()) + "\n\n")
    return folder
