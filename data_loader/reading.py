"""What each worker process is reading, for the main process to tell when one of them dies."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

_slot: npt.NDArray[np.int64] | None = None
"""Of this worker; None in the main process."""
_PID, _FIRST, _COUNT = range(3)


class Reading:
    """Memory shared with `workers` processes: the process id of each, the first index it works on, and how many.

    It is written for every sample, so it holds numbers and takes no lock. A count of 0: the worker waits.
    """

    def __init__(self, workers: int) -> None:
        self._slots = torch.zeros((workers, 3), dtype=torch.int64)
        if workers:
            self._slots.share_memory_()  # type: ignore[no-untyped-call]

    def take_slot(self, worker: int) -> None:
        """In a worker, before it reads."""
        global _slot
        _slot = self._slots[worker].numpy()
        _slot[:] = os.getpid(), 0, 0

    def lost(self) -> list[tuple[int, int]]:
        """First index and count of each worker that died at work."""
        alive = [process.pid for process in multiprocessing.active_children()]
        return [(first, count) for pid, first, count in self._slots.tolist() if count and pid not in alive]

    def under_way(self) -> list[tuple[int, int]]:
        """First index and count of each worker that is at work."""
        return [(first, count) for _, first, count in self._slots.tolist() if count]


def begin(indices: Sequence[int]) -> None:
    """This process works on `indices` from now on; on none: it waits."""
    if _slot is not None:
        _slot[_FIRST], _slot[_COUNT] = indices[0] if indices else 0, len(indices)
