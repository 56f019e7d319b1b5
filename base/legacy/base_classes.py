"""The BaseModel and BaseDataLoader of pytorch-template."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, SubsetRandomSampler, default_collate


class BaseModel(nn.Module):
    """An nn.Module that prints its number of parameters. Subclasses are registered under their own name."""

    def extra_repr(self) -> str:
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return f"trainable parameters: {trainable:,}"


log = logging.getLogger(__name__)


class BaseDataLoader(DataLoader[Any]):
    """A loader that a config uses in place of a dataset. Subclasses are registered under their own name:

    class Digits(BaseDataLoader):
        def __init__(self, data_dir, batch_size, shuffle=True, validation_split=0.0, num_workers=0, training=True):
            dataset = DigitFiles(data_dir, train=training)
            super().__init__(dataset, batch_size, shuffle, validation_split, num_workers)

    `validation_split` is a fraction of the data, or a number of samples. `n_samples` counts the training part. The
    split depends on the seed of the default generator (in a run, the run's seed) and draws no number from it.
    """

    supplied_by_program: ClassVar[tuple[str, ...]] = ()
    """Arguments that a config must not set: none, since the loader is built only from the config."""

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        shuffle: bool,
        validation_split: float | int,
        num_workers: int,
        collate_fn: Callable[[list[Any]], Any] = default_collate,
        **options: Any,
    ) -> None:
        """`options` are further arguments of torch's DataLoader. ValueError if the split leaves one part empty."""
        self.validation_split, self.shuffle = validation_split, shuffle
        self.n_samples = len(dataset)
        self.init_kwargs: dict[str, Any] = {
            "dataset": dataset,
            "batch_size": batch_size,
            "collate_fn": collate_fn,
            "num_workers": num_workers,
            **options,
        }
        sampler, self.valid_sampler = self._split_sampler(validation_split)
        super().__init__(shuffle=self.shuffle if sampler is None else None, sampler=sampler, **self.init_kwargs)

    def _split_sampler(self, split: float | int) -> Any:
        """(training sampler, validation sampler); (None, None) without a split. Subclasses may override it."""
        if not split:
            return None, None
        whole = self.n_samples
        count = split if isinstance(split, int) else int(whole * split)
        if not 0 < count < whole:
            raise ValueError(f"validation_split {split} of {whole} samples leaves {whole - count} to learn from")
        order = torch.randperm(whole, generator=torch.Generator().manual_seed(torch.initial_seed())).tolist()
        self.shuffle, self.n_samples = False, whole - count
        return SubsetRandomSampler(order[count:]), SubsetRandomSampler(order[:count])

    def split_validation(self) -> DataLoader[Any] | None:
        """A loader of the validation part; None without a split."""
        return self.part(self.valid_sampler)

    def part(self, sampler: Sampler[int] | None) -> DataLoader[Any] | None:
        """A loader of the same data in the same batches with another sampler; None without a sampler."""
        return None if sampler is None else DataLoader(sampler=sampler, **self.init_kwargs)
