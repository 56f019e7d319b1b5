"""Metrics and running means of losses: sums and counts over an epoch, divided once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import UserDict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Metric(ABC):
    """A number over all samples of an epoch. Tensors set in `reset` are its state; they are saved and restored.

    class Perplexity(Metric):
        def reset(self):
            self.total, self.count = torch.zeros(()), 0

        def update(self, output, target): ...
        def compute(self): ...
    """

    in_blocks = False
    """Whether many batches may be given as one: only if that does not change the value."""

    def __init__(self) -> None:
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forgets everything; called before each epoch."""

    @abstractmethod
    def update(self, output: Any, target: Any) -> None:
        """Takes in one batch, detached from the graph. No host synchronisation here: keep sums on the device."""

    @abstractmethod
    def compute(self) -> float | Tensor:
        """The value over everything since `reset`."""

    def state_dict(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if isinstance(v, Tensor | int | float | list | tuple | dict)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)


class Mean(Metric):
    """The mean over samples of a function of (output, target).

    The function gives one score per sample, shape (B,), or one for the batch, which is then weighted by the batch's
    size. Python and NumPy numbers are welcome.
    """

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        super().__init__()

    def reset(self) -> None:
        self.total: Tensor | float = 0.0
        self.count = 0

    def update(self, output: Any, target: Any) -> None:
        scores = self.function(output, target)
        if isinstance(scores, Tensor) and scores.dim() == 1:
            self.total = self.total + scores.sum(dtype=widest(scores))
            self.count += len(scores)
            self.in_blocks = len(scores) == len(target)
        else:
            size = len(target)
            self.total = (
                self.total + (scores.to(widest(scores)) if isinstance(scores, Tensor) else float(scores)) * size
            )
            self.count += size

    def compute(self) -> float:
        return float(self.total) / self.count if self.count else float("nan")


def values_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Each metric's value by name; a vector gives one per entry (`recall_0`), a dict one per key."""
    values: dict[str, float] = {}
    for name, metric in metrics.items():
        result = metric.compute()
        if isinstance(result, Mapping):
            values |= {f"{name}_{key}": float(value) for key, value in result.items()}
        elif isinstance(result, Tensor) and result.numel() > 1:
            values |= {f"{name}_{i}": float(value) for i, value in enumerate(result.flatten())}
        else:
            values[name] = float(result)
    return values


BATCHES, NUMBERS = 64, 1 << 16
"""A block ends with its 64th batch or when its outputs hold so many numbers: both are known from the batches alone,
so that a resumed run, which is given back the block it had begun, feeds the same ones."""


Observer = Callable[[Any, Any], None]
"""Sees the output, detached, and the target of each batch."""


class MetricCollection(UserDict[str, Any]):
    """Metrics by name. A small batch costs a metric as much as a large one: some 20 us an operation on the CPU.

    Those that score sample by sample, and torchmetrics, are given many batches as one; any other each batch at once.
    `observer` is called with the output and target of each batch.
    """

    def __init__(self, metrics: Mapping[str, Any], observer: Observer | None = None) -> None:
        super().__init__(metrics)
        self._observer = observer
        self._block: list[tuple[Tensor, Tensor]] = []
        self._form: object = None
        self._numbers = 0

    def __bool__(self) -> bool:
        """Whether anybody wants the outputs."""
        return bool(self.data) or self._observer is not None

    def feed(self, output: Any, target: Any) -> None:
        """Takes in one batch, detached from the graph."""
        waits = False
        for metric in self.data.values():
            if getattr(metric, "in_blocks", False) and isinstance(output, Tensor) and isinstance(target, Tensor):
                waits = True
            else:
                metric.update(output, target)
        if waits:
            self._wait(output, target)
        if self._observer is not None:
            self._observer(output, target)

    def _wait(self, output: Tensor, target: Tensor) -> None:
        form = (output.shape[1:], target.shape[1:], output.dtype, target.dtype)
        if form != self._form:
            self._end_block()
            self._form = form
        self._numbers += output.numel()
        if len(self._block) + 1 == BATCHES or self._numbers >= NUMBERS:
            self._block.append((output, target))
            self._end_block()
        else:  # a copy: an output may be a view of a parameter, a target the memory of the next batch
            self._block.append((output.clone(), target.clone()))

    def _end_block(self) -> None:
        if self._block:
            outputs, targets = (torch.cat(tensors) for tensors in zip(*self._block, strict=True))
            for metric in self.data.values():
                if getattr(metric, "in_blocks", False):
                    metric.update(outputs, targets)
        self._block, self._numbers = [], 0

    def reset(self) -> None:
        self._block, self._numbers = [], 0
        for metric in self.data.values():
            metric.reset()

    def compute(self) -> dict[str, float]:
        """The value of each, several of those that have several. Waits for the device."""
        self._end_block()
        return values_of(self.data)

    def state_dict(self) -> dict[str, Any]:
        metrics = {name: metric.state_dict() for name, metric in self.data.items()}
        return {"metrics": metrics, "block": [list(pair) for pair in self._block]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        for name, metric in self.data.items():
            metric.load_state_dict(state["metrics"][name])
        self._block, self._numbers = [], 0
        for output, target in state["block"]:
            self._wait(output, target)


BLOCK = 64
"""Batches whose losses are summed at once: an addition on its own costs as much as a small layer."""


class LossAverager:
    """Sums of losses in double precision: since the beginning, and since the last `lap`, each with its samples.

    What was added last waits as it is until there are `BLOCK` of it. Sums are taken at fixed numbers of batches alone,
    never because somebody looked or saved: so a resumed run adds in the same order.
    """

    def __init__(self) -> None:
        self.before = _Sums()
        """All but the lap under way."""
        self.lap_sums = _Sums()

    @property
    def count(self) -> int:
        """Samples since the beginning."""
        return self.before.count + self.lap_sums.count

    def add(self, terms: Mapping[str, Tensor], size: int) -> None:
        """Adds the mean losses of a batch of `size` samples."""
        self.lap_sums.add(terms, size)

    def means(self) -> dict[str, float]:
        """Since the beginning. Waits for the device."""
        return _divided(self.before.sums | _added(self.before.sums, self.lap_sums.totals()), self.count)

    def lap(self) -> dict[str, float]:
        """Since the last call. Waits for the device."""
        lap, self.lap_sums = self.lap_sums, _Sums()
        totals = lap.totals()
        self.before.sums |= _added(self.before.sums, totals)
        self.before.count += lap.count
        return _divided(totals, lap.count)

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before.state_dict(), "lap": self.lap_sums.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.before.load_state_dict(state["before"])
        self.lap_sums.load_state_dict(state["lap"])


class _Sums:
    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0
        self.waiting: dict[str, tuple[list[Tensor], list[int]]] = {}

    def add(self, terms: Mapping[str, Tensor], size: int) -> None:
        self.count += size
        for name, term in terms.items():
            if name not in self.waiting:
                self.waiting[name] = [], []
            values, sizes = self.waiting[name]
            values.append(term.detach().clone())  # a term may be a parameter, which the optimizer changes in place
            sizes.append(size)
            if len(sizes) == BLOCK:
                self.sums |= _added(self.sums, {name: _weighted(values, sizes)})
                del self.waiting[name]

    def totals(self) -> dict[str, Tensor]:
        """With what waits, and without touching it."""
        return {**self.sums, **_added(self.sums, {n: _weighted(*waiting) for n, waiting in self.waiting.items()})}

    def state_dict(self) -> dict[str, Any]:
        waiting = {name: [torch.stack(values), list(sizes)] for name, (values, sizes) in self.waiting.items()}
        return {"sums": dict(self.sums), "count": self.count, "waiting": waiting}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]
        self.waiting = {name: ([*values.unbind()], list(sizes)) for name, (values, sizes) in state["waiting"].items()}


def widest(tensor: Tensor) -> torch.dtype:
    """float64 where the device has it: a sum of a million float32 losses keeps its digits."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


def _weighted(values: list[Tensor], sizes: list[int]) -> Tensor:
    losses = torch.stack(values)
    losses = losses.to(widest(losses))
    if min(sizes) == max(sizes):  # nearly always; and the sizes need not go to the device
        return losses.sum() * sizes[0]
    return (losses * torch.tensor(sizes, dtype=losses.dtype, device=losses.device)).sum()


def _added(sums: Mapping[str, Tensor], more: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The sums of the names in `more`."""
    return {name: sums[name] + value if name in sums else value for name, value in more.items()}


def _divided(totals: Mapping[str, Tensor], count: int) -> dict[str, float]:
    return {name: total.item() / count for name, total in totals.items()}
