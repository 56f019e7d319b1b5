"""Samples that fail and are left out: told one by one, up to a bound."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from base.errors import DataError
from data_loader.samples import Partial

log = logging.getLogger(__name__)


class LeftOut:
    """Of one data set; `most` bounds how many different samples may be."""

    def __init__(self, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.indices: set[int] = set()

    def told(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The batches, those without the samples that fail as well. One line for each such sample the first time.

        DataError if there are too many, or nothing is left of a batch.
        """
        for batch in batches:
            if isinstance(batch, Partial):
                self._tell(batch)
                if (batch := batch.batch) is None:
                    raise DataError(f"{self.name}: every sample of a batch fails: there is nothing to go on with")
            yield batch

    def _tell(self, partial: Partial) -> None:
        for failure in partial.failures:
            assert failure.index is not None
            if failure.index not in self.indices:
                self.indices.add(failure.index)
                if len(self.indices) > self.most:
                    what = f"more than data.max_errors ({self.most}) samples fail, the last of them"
                    raise DataError(f"{what}: {failure.message}") from failure.error
                log.warning("left out (%d of at most %d): %s", len(self.indices), self.most, failure.message)
