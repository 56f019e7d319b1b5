"""Metrics are sums and counts over an epoch, divided once: exact whatever the batch sizes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from base.tally import widest


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
