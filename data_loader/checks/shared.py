"""Samples that the training set shares with a validation or test set which its class drew by itself."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor

from data_loader.open_datasets import DatasetSplit, add_to_hash
from utils.batches import SampleKeys
from utils.formatting import pluralize
from utils.seed import isolated_rng

log = logging.getLogger(__name__)
MOST_SAMPLES, MOST_SECONDS = 20_000, 1.0
"""What the comparison of two sets may read and take; of larger ones it compares a part."""


def content_of(value: Any) -> bytes:
    """A hash of a sample's input: tensors, arrays, images and plain values at any depth."""
    digest = blake2b(digest_size=16)
    add_to_hash(digest, value)
    return digest.digest()


def warn_of_shared(sets: Mapping[str, DatasetSplit], places: SampleKeys) -> None:
    """One line for each set that shares samples with the training set.

    It looks at sets of the same class only: two constructors that each draw their split from one collection overlap,
    unless both draw with the same seed. What the run itself split is disjoint.
    """
    train = sets["train"]
    for one in sets.values():
        apart = one.dataset is not train.dataset and type(one.dataset) is type(train.dataset)
        ours = not any(each.streamed or each.loader is not None for each in (one, train))
        if apart and ours and (message := _shared(train, one, places)):
            log.warning("%s", message)


def _shared(train: DatasetSplit, other: DatasetSplit, places: SampleKeys) -> str:
    """What they share in words; empty if that is nothing, or if the training set repeats itself about as often."""
    end = time.monotonic() + MOST_SECONDS
    there, seen = _contents(other, places, MOST_SAMPLES // 2, end - MOST_SECONDS / 2)
    here, looked_at = _contents(train, places, MOST_SAMPLES - seen, end)
    common = sum(count for content, count in there.items() if content in here)
    repeated = looked_at - len(here)
    if not common or common / seen <= 2 * repeated / looked_at:  # samples of few kinds, such as rows of a survey
        return ""
    sizes = len(train.indices()), len(other.indices())
    part = f" (compared {looked_at:,} of {sizes[0]:,} with {seen:,} of {sizes[1]:,})"
    hint = "draw both parts with one seed, or let the run split the data (data.valid: 0.1)"
    return (
        f"{other.name} shares {pluralize(common, 'sample')} with {train.name}{part * ((looked_at, seen) != sizes)}: "
        f"its scores are better than those on new data; {hint}"
    )


def _contents(one: DatasetSplit, places: SampleKeys, most: int, end: float) -> tuple[dict[bytes, int], int]:
    """How often each input occurs, and how many were looked at, spread over the set, until the time `end`."""
    chosen = one.indices()
    chosen = chosen[torch.randperm(len(chosen), generator=torch.Generator().manual_seed(0))[:most]]
    found: dict[bytes, int] = {}
    with isolated_rng():
        for looked_at, content in enumerate(_each(one, places, chosen)):
            if time.monotonic() > end:
                return found, looked_at
            if content is not None:
                found[content] = found.get(content, 0) + 1
    return found, len(chosen)


def _each(one: DatasetSplit, places: SampleKeys, chosen: Tensor) -> Iterator[bytes | None]:
    """The content of each sample; None for one that cannot be read, which whoever trains with it tells."""
    if one.tensors is not None:
        for row in places.part("input", one.tensors)[chosen].numpy(force=True):
            yield blake2b(row.tobytes(), digest_size=16).digest()
        return
    dataset = _copy(one.dataset)
    for index in chosen.tolist():
        try:
            yield content_of(places.part("input", dataset[index]))
        except Exception:
            yield None


def _copy(dataset: Any) -> Any:
    """A copy to read from: a dataset may count or draw as it is read, and training must find it as it was made. Large
    arrays are shared. None, of which nothing can be read, if the dataset cannot be copied."""
    large = [value for value in getattr(dataset, "__dict__", {}).values() if getattr(value, "nbytes", 0) > 1 << 20]
    try:
        return copy.deepcopy(dataset, {id(value): value for value in large})
    except Exception:
        return None
