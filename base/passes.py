"""A pass over a data set as a run reads it: never empty, and given up by a run that was asked to end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from base.errors import DataError
from base.protocols import Loader
from base.signals import StopRequest

_END = object()


def batches_of(loader: Loader, request: StopRequest, pass_: int = 0, start: int = 0, title: str = "") -> Iterator[Any]:
    """The batches of one pass from batch `start` on. `title` is what errors call it, by default the pass by its number.

    DataError if a whole pass has no batch: an iterator that is kept is exhausted after its first pass, and a run would
    wait for its next batch for ever. `Interrupted` if the run was asked to end and a batch does not come.
    """
    batches, given = loader.batches(pass_, start), False
    while True:
        with request.patience:
            batch = next(batches, _END)
        if batch is _END:
            break
        given = True
        yield batch
    if not given and start == 0:
        title = title or f"pass {pass_ + 1}"
        hint = "return a fresh iterator each time from __iter__ of the data set, its sampler or its loader"
        expected = f"{len(loader)} ({loader.size} samples)"
        raise DataError(f"{loader.name}: {title} gave 0 batches, expected {expected}: {hint}")
