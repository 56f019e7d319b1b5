"""Metrics and means of losses: sums and counts over an epoch, divided once."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections import UserDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from base.errors import MetricError
from base.loop.counts import Ratio, SampleSum, Terms, checked, of_term
from utils.batches import size_of


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

    def alone(self) -> Metric:
        """A copy that has counted nothing, and counts without this one."""
        metric = copy.deepcopy(self)
        metric.reset()
        return metric

    def __call__(self, output: Any, target: Any) -> float | Tensor:
        """The value of this one batch, several as a vector; what the epoch has counted stays as it is."""
        metric = self.alone()
        metric.update(output, target)
        value = metric.compute()
        return value if isinstance(value, Tensor) and value.numel() > 1 else float(value)


class Mean(Metric):
    """A sum over what counts in it: of a loss, or of the scores that a function of (output, target) gives.

    The function gives a tensor of scores, one for each sample or for each position, or one number for the batch, which
    counts by its samples, or a sum and over how much it is, as a tuple of two or a Ratio. Python and NumPy numbers are
    welcome. What lies on an accelerator is read there when somebody asks, and is summed here in float64, batch by
    batch: so reading or saving changes no bit.
    """

    def __init__(self, function: Callable[[Any, Any], Any] | None = None) -> None:
        self.function = function
        super().__init__()

    def reset(self) -> None:
        self.total: float = 0.0
        self.count: float = 0
        self._unread: list[tuple[Any, Any, Any]] = []

    def update(self, output: Any, target: Any) -> None:
        assert self.function is not None
        scores = self.function(output, target)
        if isinstance(scores, tuple):
            scores = self._ratio(scores)
        if isinstance(scores, Ratio):
            self.add(scores.sum, checked(scores.count), weight=1)
        elif isinstance(scores, Tensor) and scores.dim():
            self.add(scores.sum(dtype=widest(scores)), scores.numel(), weight=1)
            self.in_blocks = scores.dim() == 1 and len(scores) == size_of(target)
        else:
            self.add(scores, size_of(target))

    def _ratio(self, scores: tuple[Any, ...]) -> Ratio:
        if len(scores) != 2 or any(isinstance(one, Tensor) and one.numel() != 1 for one in scores):
            found = ", ".join(str(tuple(one.shape)) if isinstance(one, Tensor) else repr(one) for one in scores)
            raise MetricError(self.function, f"a tuple is a sum and a count, one number each; found ({found})")
        return Ratio(*scores)

    def add(self, value: Any, count: Any, weight: Any = None) -> None:
        """Takes in a mean over `count`; with `weight=1` a sum. If nothing counts, a value that is NaN does no harm."""
        weight = count if weight is None else weight
        if isinstance(count, Tensor) or (isinstance(value, Tensor) and value.device.type != "cpu"):
            self._unread.append((_as_it_is(value), _as_it_is(weight), _as_it_is(count)))
            if len(self._unread) == 1024:  # or they would fill the device where nobody logs
                self.read()
        else:
            self._take(value.item() if isinstance(value, Tensor) else float(value), weight, count)

    def _take(self, value: float, weight: float, count: float) -> None:
        if count:
            self.total += value * weight
            self.count += count

    def read(self) -> tuple[float, float]:
        """The sum and the count. Waits for the device."""
        rows, self._unread = self._unread, []
        for row in zip(*map(_on_host, zip(*rows, strict=True)), strict=True):
            self._take(*row)
        return self.total, self.count

    def compute(self) -> float:
        return divided(*self.read())

    def state_dict(self) -> dict[str, Any]:
        total, count = self.read()
        return {"total": total, "count": count, "in_blocks": self.in_blocks}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.reset()
        self.total, self.count, self.in_blocks = float(state["total"]), state["count"], state.get("in_blocks", False)


def _as_it_is(number: Any) -> Any:
    """Its own memory: a term may be a parameter, which the optimizer changes in place."""
    return number.detach().clone() if isinstance(number, Tensor) else number


def _on_host(numbers: Sequence[Any]) -> list[float]:
    """Tensors of a device in one go."""
    tensors = [one.reshape(()) for one in numbers if isinstance(one, Tensor)]
    kind = max((one.dtype for one in tensors), key=lambda dtype: dtype.itemsize, default=None)
    read = iter(torch.stack([one.to(kind) for one in tensors]).tolist() if tensors else ())
    return [next(read) if isinstance(one, Tensor) else one for one in numbers]


def divided(total: float, count: float) -> float:
    return total / count if count else math.nan


def widest(tensor: Tensor) -> torch.dtype:
    """float64 where the device has it: a sum of a million float32 scores keeps its digits."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64


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


BATCHES, BYTES = 64, 1 << 18
"""A block ends with its 64th batch or when its outputs and targets hold so many bytes: both are known from the batches
alone, so that a resumed run, which is given back the block it had begun, feeds the same ones."""


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
        self._bytes = 0

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
        self._bytes += output.nbytes + target.nbytes
        if len(self._block) + 1 == BATCHES or self._bytes >= BYTES:
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
        self._block, self._bytes = [], 0

    def reset(self) -> None:
        self._block, self._bytes = [], 0
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
        self._block, self._bytes = [], 0
        for output, target in state["block"]:
            self._wait(output, target)


class LossMeans:
    """The means of named losses since the beginning, and since they were last logged; each over what counts in it.

    `loss` is the mean of what was learned from, or, where its parts do not all count alike, the sum of their means.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._means: dict[str, Mean] = {}
        self._parts: dict[str, None] = {}
        """The names of the losses that `loss` is the sum of, in their order."""
        self._logged: dict[str, tuple[float, float]] = {}

    def add(self, terms: Terms, count: Any, size: int) -> None:
        """Takes in the losses of a batch of `size` samples; `count` is what the trainer's `count` gave for it."""
        self.samples += size
        by_term = isinstance(count, Mapping)
        parts = terms.parts or (count if by_term else ())
        self._parts |= dict.fromkeys(parts)
        alike = not by_term or all(type(one) is int and one == size for one in count.values())
        for name, value in terms.items():
            own = terms.counts.get(name, of_term(count, name, size))
            if name == "loss" and parts and (terms.counts or not alike):
                own = 0  # it has no count of its own
            if name not in self._means:
                self._means[name] = Mean()
            self._means[name].add(value, own, weight=1 if isinstance(own, SampleSum) else None)

    def means(self) -> dict[str, float]:
        """Since the beginning. Waits for the device."""
        return self._divided({name: mean.read() for name, mean in self._means.items()})

    def since_logged(self) -> dict[str, float]:
        """Since the last call. Waits for the device."""
        now = {name: mean.read() for name, mean in self._means.items()}
        then, self._logged = self._logged, now
        before = {name: then.get(name, (0.0, 0)) for name in now}
        since = {name: (now[name][0] - before[name][0], now[name][1] - before[name][1]) for name in now}
        return {name: mean for name, mean in self._divided(since).items() if not math.isnan(mean) or since[name][1]}

    def _divided(self, sums: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        means = {name: divided(total, count) for name, (total, count) in sums.items()}
        parts = [name for name in self._parts if name in sums and sums[name][1]]
        if "loss" in sums and any(sums[name][1] != sums["loss"][1] for name in parts):
            means["loss"] = sum(means[name] for name in parts)
        return means

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers: of each loss the sum and count, and what they were when it was last logged."""
        means = {}
        for name, mean in self._means.items():
            total, count = mean.read()
            logged_sum, logged_count = self._logged.get(name, (0.0, 0))
            means[name] = {"sum": total, "count": count, "logged_sum": logged_sum, "logged_count": logged_count}
        return {"samples": self.samples, "parts": list(self._parts), "means": means}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self.samples, self._parts = state["samples"], dict.fromkeys(state["parts"])
        for name, saved in state["means"].items():
            self._means[name] = Mean()
            self._means[name].load_state_dict({"total": saved["sum"], "count": saved["count"]})
            self._logged[name] = saved["logged_sum"], saved["logged_count"]
