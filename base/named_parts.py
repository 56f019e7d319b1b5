"""Losses and metrics of a part of the output or of the target, where a model gives a dict or a batch holds several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from base.errors import listing

if TYPE_CHECKING:
    from base.config.keys import OutputTargetConfig


class NoSuchPart(ValueError):
    """`key` of the config names a part that the output or the target does not have."""

    def __init__(self, key: str, what: str, there_is: str) -> None:
        super().__init__(f"{key}: {what}; there is {there_is}")
        self.key, self.what, self.there_is = key, what, there_is


class Parts:
    """What a component is given of an output and a target; `place` is the component's own (`loss.terms.size`)."""

    def __init__(self, component: OutputTargetConfig, place: str) -> None:
        self.output, self.target, self.place = component.output, component.target, place

    def __bool__(self) -> bool:
        return self.output is not None or self.target is not None

    def of(self, output: Any, target: Any) -> tuple[Any, Any]:
        """NoSuchPart if one of them is no dict, tuple or list, or has no such part."""
        return self._part(output, self.output, "output"), self._part(target, self.target, "target")

    def _part(self, value: Any, key: str | int | None, role: str) -> Any:
        if key is None:
            return value
        known = (
            list(value) if isinstance(value, Mapping) else range(len(value) if isinstance(value, tuple | list) else 0)
        )
        if key in known:
            return value[key]
        there_is = listing(map(str, known), "and") if known else f"a single {type(value).__name__}"
        raise NoSuchPart(f"{self.place}.{role}", f"the {role} has no part {key!r}", there_is)


class LossOfParts:
    """A loss of a part of the output and of the target."""

    def __init__(self, loss: Callable[..., Any], parts: Parts) -> None:
        self.loss, self.parts = loss, parts

    def __call__(self, output: Any, target: Any) -> Any:
        return self.loss(*self.parts.of(output, target))


class MetricOfParts:
    """A metric of a part of the output and of the target; everything else is the metric's own."""

    def __init__(self, metric: Any, parts: Parts) -> None:
        self.metric, self.parts = metric, parts

    def update(self, output: Any, target: Any) -> None:
        self.metric.update(*self.parts.of(output, target))

    def reset(self) -> None:
        self.metric.reset()

    def compute(self) -> Any:
        return self.metric.compute()

    def state_dict(self) -> dict[str, Any]:
        return dict(self.metric.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.metric.load_state_dict(state)


class WeightedTerms:
    """Several losses of one output and target; their sum is what is learned from."""

    def __init__(self, terms: Mapping[str, tuple[float, Callable[..., Any]]]) -> None:
        self.terms = dict(terms)

    def __call__(self, output: Any, target: Any) -> dict[str, Tensor]:
        """Each term as it counts: multiplied by its weight."""
        return {name: weight * loss(output, target) for name, (weight, loss) in self.terms.items()}
