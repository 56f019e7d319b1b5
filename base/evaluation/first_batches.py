"""Loaders that stop early: one batch for a dry run, or the first few again and again (`trainer.overfit_batches`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from base.protocols import Loader, TrainingLoader, batches_in


class FirstBatch:
    """A loader of one batch."""

    def __init__(self, loader: Loader) -> None:
        self.loader, self.name = loader, loader.name
        self.batch_size = loader.batch_size
        self.size: int | None = loader.batch_size
        self.workers: int | None = 0

    def __len__(self) -> int:
        return 1

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        return islice(self.loader.batches(pass_, start), 1)


class FirstBatches:
    """Every pass is the beginning of the first one: the same samples in the same order, with the same augmentation."""

    def __init__(self, loader: TrainingLoader, count: int) -> None:
        known = batches_in(loader)
        self.loader, self.count = loader, count if known is None else min(count, known)
        self.name, self.batch_size, self.workers = loader.name, loader.batch_size, loader.workers
        most = self.count * loader.batch_size
        self.size: int | None = most if loader.size is None else min(loader.size, most)

    def __len__(self) -> int:
        return self.count

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        return islice(self.loader.batches(0, start), self.count - start)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A stream is read forward: there is little of it."""
