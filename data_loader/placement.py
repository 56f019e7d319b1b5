"""Where data that is held as tensors lies: whole on the device, or beside the CPU, from where batches are copied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

SHARE_OF_DEVICE = 0.25
"""Of the memory that is free on the device as the run begins, what all data sets together may take; the rest is left to
weights, gradients and activations."""


def free_memory(device: torch.device) -> int | None:
    """Bytes; None where nobody can tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
    return None


class Placement:
    """Decides for one data set after another, in the order in which they are asked for, and moves each one once.

    On the CPU there is nothing to decide: `reasons` stays empty.
    """

    def __init__(self, device: torch.device, free: Callable[[torch.device], int | None] = free_memory) -> None:
        self.device = device
        self.reasons: dict[str, dict[str, Any]] = {}
        """By label: whether the set lies on the device, and why, in words."""
        self._free = None if device.type == "cpu" else free(device)
        self._left = SHARE_OF_DEVICE * (self._free or 0)
        self._placed: dict[int, tuple[Sequence[Tensor], Sequence[Tensor], dict[str, Any]]] = {}

    def put(self, label: str, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The tensors, on the device if they fit there. Parts of one data set share them."""
        if self.device.type == "cpu":
            return tensors
        if id(tensors) not in self._placed:
            decided = self._decide(sum(tensor.nbytes for tensor in tensors))
            placed = [tensor.to(self.device) for tensor in tensors] if decided["on_device"] else tensors
            self._placed[id(tensors)] = tensors, placed, decided  # with the key itself: an id may be given again
        _, placed, self.reasons[label] = self._placed[id(tensors)]
        return placed

    def _decide(self, size: int) -> dict[str, Any]:
        if self._free is None:
            return {"on_device": False, "reason": f"nobody can tell how much memory is free on {self.device}"}
        fits = size <= self._left
        limit = (
            f"{_megabytes(self._left)} MB left of {SHARE_OF_DEVICE:.0%} of the {_megabytes(self._free)} MB free there"
        )
        self._left -= size * fits
        return {
            "on_device": fits,
            "reason": f"it takes {_megabytes(size)} MB, {'within' if fits else 'more than'} the {limit}",
        }


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f}" if size >= 1e7 else f"{size / 1e6:.1f}"


class Copies(Protocol):
    """Copies of rows to a device that go on while the program does."""

    def begin(self, tensors: Sequence[Tensor], indices: Tensor) -> Any:
        """Gathers the rows and begins to copy them; gives what `end` is to be given."""

    def end(self, begun: Any) -> list[Tensor]:
        """The rows on the device, fit to be used by what is queued there from now on."""


def copied_ahead(
    tensors: Sequence[Tensor], batches: Iterable[tuple[int, Tensor]], copies: Copies
) -> Iterator[tuple[int, list[Tensor]]]:
    """Each batch's position and rows; the copy of the next one is under way while one is used."""
    waiting: list[tuple[int, Any]] = []
    for first, indices in batches:
        waiting.append((first, copies.begin(tensors, indices)))
        if len(waiting) > 1:
            position, begun = waiting.pop(0)
            yield position, copies.end(begun)
    yield from ((position, copies.end(begun)) for position, begun in waiting)


class DeviceCopies:
    """Through page-locked memory and, on CUDA, a stream of their own."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._cuda = device, device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._cuda else None  # type: ignore[no-untyped-call]

    def begin(self, tensors: Sequence[Tensor], indices: Tensor) -> tuple[list[Tensor], Any]:
        rows = [self._gathered(tensor, indices) for tensor in tensors]
        if self._stream is None:
            return [row.to(self.device, non_blocking=True) for row in rows], None
        with torch.cuda.stream(self._stream):
            return [row.to(self.device, non_blocking=True) for row in rows], self._stream.record_event()

    def end(self, begun: tuple[list[Tensor], Any]) -> list[Tensor]:
        rows, event = begun
        if event is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(event)
            for row in rows:
                row.record_stream(current)  # else its memory is given away while that stream still reads it
        return rows

    def _gathered(self, tensor: Tensor, indices: Tensor) -> Tensor:
        shape = (len(indices), *tensor.shape[1:])
        rows = torch.empty(shape, dtype=tensor.dtype, pin_memory=self._cuda)
        return torch.index_select(tensor, 0, indices, out=rows)
