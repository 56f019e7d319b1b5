"""BaseModel and BaseDataLoader, as pytorch-template has them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, SubsetRandomSampler, default_collate


class BaseModel(nn.Module):
    """An nn.Module whose subclasses register under their own name and print their number of parameters."""

    def extra_repr(self) -> str:
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return f"trainable parameters: {trainable:,}"


log = logging.getLogger(__name__)


class BaseDataLoader(DataLoader[Any]):
    """Subclasses register under their own name and stand in a config where a dataset stands:

    class Digits(BaseDataLoader):
        def __init__(self, data_dir, batch_size, shuffle=True, validation_split=0.0, num_workers=0, training=True):
            dataset = DigitFiles(data_dir, train=training)
            super().__init__(dataset, batch_size, shuffle, validation_split, num_workers)

    `validation_split` is a fraction of the data, or a number of samples. `n_samples` are those of the training part.
    The split follows from the default generator's seed, which is not drawn from: in a run, from the run's.
    """

    supplied_by_program: ClassVar[tuple[str, ...]] = ()
    """Arguments that no config may set: none, as the loader is built from the config alone."""

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
        """`options` are further arguments of torch's DataLoader. ValueError if the split leaves nothing."""
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
        """(sampler of the training part, sampler of the validation part); None stands for all data, and for no part.
        To be replaced by a subclass with a split of its own.
        """
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
        """A loader of the validation part; None if there is none."""
        return self.part(self.valid_sampler)

    def part(self, sampler: Sampler[int] | None) -> DataLoader[Any] | None:
        """A loader of the same data and batches with another sampler; None without one."""
        return None if sampler is None else DataLoader(sampler=sampler, **self.init_kwargs)
