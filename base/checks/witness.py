"""What the first batch looks like where it enters a model and where it leaves it, in words."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from torch import Tensor, nn

from utils.batches import bounds
from utils.figures import figure


class Witness:
    """Watches the first forward pass of each model; no tensor is held on to.

    with Witness(trainer.models) as seen:
        trainer.evaluate(...)
    seen.inputs["model"], seen.outputs["model"]
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self.models = models
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> Witness:
        for name, model in self.models.items():
            self._watch(name, model)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hooks.close()

    def _watch(self, name: str, model: nn.Module) -> None:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in self.inputs:
                self.inputs[name] = described(kwargs if not args else args[0] if len(args) == 1 else args)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if name not in self.outputs:
                self.outputs[name] = described(output)

        self._hooks.callback(model.register_forward_pre_hook(before, with_kwargs=True).remove)
        self._hooks.callback(model.register_forward_hook(after).remove)


def described(value: Any) -> str:
    """A batch in words: `1x28x28 float32 from -0.81 to 2.02`, which leaves out how many samples it has."""
    if isinstance(value, Tensor):
        dtype, known = str(value.dtype).removeprefix("torch."), bounds(value)
        shape = "nested" if value.is_nested else "x".join(map(str, value.shape[1:])) or "number"
        reach = f" from {figure(known[0])} to {figure(known[1])}" if known else ""
        return f"{shape} {dtype}{reach}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {described(item)}" for key, item in value.items())
    if isinstance(value, tuple | list) and len(value) <= 4:
        return ", ".join(described(item) for item in value)
    return type(value).__name__
