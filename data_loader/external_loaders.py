"""A project's own DataLoaders, with order and randomness from (seed, pass).

A loader with an iteration of its own, or of a stream, is read as it is; to resume in the middle of a pass, it is read
forward.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from base.legacy.base_classes import BaseDataLoader
from base.protocols import TrainingLoader
from base.registry import DATASETS
from data_loader.image_datasets import MNIST
from data_loader.loaders import PerSampleLoader
from data_loader.prefetch import read, start_worker
from data_loader.samplers import SampledBatches
from data_loader.samples import Reading, Samples
from utils.batches import to_device
from utils.seed import fold_in, isolated_rng

log = logging.getLogger(__name__)


def has_own_iteration(loader: DataLoader[Any]) -> bool:
    """True if its batches are not just those of its batch sampler, collated."""
    plain = type(loader).__iter__ is DataLoader.__iter__
    return not plain or loader.batch_sampler is None or isinstance(loader.dataset, IterableDataset)


def batching_of(loader: DataLoader[Any], seed: int) -> SampledBatches:
    """The batches of a pass, drawn by the loader's own samplers with seeded generators."""
    size: int = len(loader.dataset)  # type: ignore[arg-type]
    return SampledBatches(lambda: loader.batch_sampler or (), size, _batch_size(loader), seed)


def members_of(loader: DataLoader[Any], seed: int) -> Tensor | None:
    """The indices that the first pass visits, int64, ascending; None if that is not known."""
    if has_own_iteration(loader):
        return None
    drawn = [indices for _, indices in batching_of(loader, seed).batches(0, 0)]
    return torch.unique(torch.cat(drawn)) if drawn else torch.empty(0, dtype=torch.int64)


def adopt(loader: DataLoader[Any], samples: Samples, seed: int, device: torch.device) -> Any:
    """A `base.protocols.Loader` of the same data; its attribute `wrapped` is the given loader."""
    kind = OpaqueLoader if has_own_iteration(loader) else ResampledLoader
    return kind(loader, samples, seed, device)


def _batch_size(loader: DataLoader[Any]) -> int:
    return int(loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1)


class ResampledLoader(PerSampleLoader):
    """The same samples in the same batches; generators are seeded for each sample."""

    def __init__(self, loader: DataLoader[Any], samples: Samples, seed: int, device: torch.device) -> None:
        samples.collate = loader.collate_fn
        super().__init__(
            samples,
            batching_of(loader, seed),
            device,
            max_errors=1,
            num_workers=loader.num_workers,
            timeout=loader.timeout,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=loader.persistent_workers,
            multiprocessing_context=loader.multiprocessing_context,
            pin_memory=loader.pin_memory and device.type != "cpu",
            worker_init_fn=loader.worker_init_fn,
        )
        self.wrapped = with_our_workers(loader)


class OpaqueLoader(TrainingLoader):
    """The loader's batches as they come; generators are seeded for each batch."""

    def __init__(self, loader: DataLoader[Any], samples: Samples, seed: int, device: torch.device) -> None:
        self.name, self.seed, self.device = samples.name, seed, device
        self.batch_size, self.wrapped = _batch_size(loader), with_our_workers(loader)
        self.workers = loader.num_workers
        self.size = int(getattr(loader, "n_samples", len(loader) * self.batch_size))

    def __len__(self) -> int:
        return len(self.wrapped)

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on; earlier ones are read as well."""
        batches = read(self.wrapped, self.name)
        for number in range(len(self)):
            with isolated_rng(fold_in(self.seed, pass_, number)):
                batch = next(batches, _END)
            if batch is _END:
                return
            if number >= start:
                yield to_device(batch, self.device, non_blocking=self.wrapped.pin_memory)


_END = object()


def with_our_workers(loader: DataLoader[Any]) -> DataLoader[Any]:
    """The same loader; its workers leave Ctrl-C to the main process and end when it ends."""
    loader.worker_init_fn = functools.partial(start_worker, loader.worker_init_fn, Reading(loader.num_workers))
    return loader


MEAN, STD = 0.1307, 0.3081
"""Of the training images' pixels, scaled to [0, 1]."""


def normalized(samples: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor]:
    """uint8 images and class numbers to float32 (B, 1, 28, 28) of mean 0 and deviation 1, and int64 (B,)."""
    images = torch.stack([image for image, _ in samples]).float() / 255
    return (images - MEAN) / STD, torch.tensor([label for _, label in samples])


@DATASETS.register
class MnistDataLoader(BaseDataLoader):
    """Handwritten digits: 60,000, less the share `validation_split`; without `training` the 10,000 test images."""

    def __init__(
        self,
        data_dir: str,
        batch_size: int,
        shuffle: bool = True,
        validation_split: float = 0.0,
        num_workers: int = 0,
        training: bool = True,
        download: bool = True,
        **options: Any,
    ) -> None:
        digits = MNIST(data_dir, train=training, download=download)
        super().__init__(digits, batch_size, shuffle, validation_split, num_workers, normalized, **options)
