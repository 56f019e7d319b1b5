"""Samples that fail and are skipped (`data.on_error: skip`), and the batches that have no other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from base.errors import DataError
from data_loader.samples import Partial

log = logging.getLogger(__name__)


class SkippedSamples:
    """The samples of one dataset that failed; at most `most` different ones may.

    A batch of which every sample fails is left out. The loop counts the batches that it is given, and a loader those
    that it reads; `number_of` gets from one to the other, so that a resumed run goes on at the right batch.
    """

    def __init__(self, name: str, most: int) -> None:
        self.name, self.most = name, most
        self.indices: set[int] = set()
        self._pass = 0
        self._left_out: set[int] = set()
        """Numbers of the batches of `_pass` that were left out."""

    def filter(self, batches: Iterable[Any], pass_: int, number: int) -> Iterator[Any]:
        """The batches, `number` being the first one's in the pass, without the samples that fail. Each of these is
        logged the first time. DataError if too many fail, or all of a pass."""
        if pass_ != self._pass:
            self._pass, self._left_out = pass_, set()
        given = number > 0
        for here, batch in enumerate(batches, number):
            if isinstance(batch, Partial):
                self._log(batch)
                if (batch := batch.batch) is None:
                    self._left_out.add(here)
                    continue
            given = True
            yield batch
        if not given and self._left_out:
            raise DataError(f"{self.name}: every sample fails: there is nothing to go on with")

    def number_of(self, pass_: int, given: int) -> int:
        """The number of the batch after the first `given` ones of the pass that were not left out."""
        number = 0
        while given:
            given -= pass_ != self._pass or number not in self._left_out
            number += 1
        return number

    def state_dict(self) -> dict[str, Any]:
        """Empty where no batch of the pass was left out."""
        return {"left_out": {"pass": self._pass, "batches": sorted(self._left_out)}} if self._left_out else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        left_out = state.get("left_out", {"pass": 0, "batches": ()})
        self._pass, self._left_out = left_out["pass"], set(left_out["batches"])

    def _log(self, partial: Partial) -> None:
        for failure in partial.failures:
            assert failure.index is not None
            if failure.index not in self.indices:
                self.indices.add(failure.index)
                if len(self.indices) > self.most:
                    what = f"more than data.max_errors ({self.most}) samples fail, the last of them"
                    raise DataError(f"{what}: {failure.message}") from failure.error
                log.warning("left out (%d of at most %d): %s", len(self.indices), self.most, failure.message)
