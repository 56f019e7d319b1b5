"""Metrics are sums and counts over an epoch, divided once: exact whatever the batch sizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
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
        else:
            size = len(target)
            self.total = (
                self.total + (scores.to(widest(scores)) if isinstance(scores, Tensor) else float(scores)) * size
            )
            self.count += size

    def compute(self) -> float:
        return float(self.total) / self.count if self.count else float("nan")


class Tally:
    """Means of named losses over samples: sums stay on the device in double precision until somebody asks."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, terms: Mapping[str, Tensor], size: int) -> None:
        """Adds the mean losses of a batch of `size` samples."""
        self.count += size
        for name, term in terms.items():
            term = term.detach()
            weighted = term.to(widest(term)) * size
            total = self.sums.get(name)
            self.sums[name] = weighted if total is None else total + weighted

    def means(self) -> dict[str, float]:
        """Waits for the device."""
        return {name: total.item() / self.count for name, total in self.sums.items()}

    def state_dict(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.sums, self.count = dict(state["sums"]), state["count"]


def widest(tensor: Tensor) -> torch.dtype:
    """float64 where the device has it: a sum of a million float32 losses keeps its digits."""
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
