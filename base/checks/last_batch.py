"""Foresees a training batch of one sample that BatchNorm cannot learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from base.checks.loss_checks import Finding


class LoneSample:
    """Watches which normalizations see one value a channel of each sample: these fail on a batch of one sample.

    A layer after a convolution has a value a pixel and does not. Frozen layers keep their statistics and do not either.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self.models = models
        self.layers: dict[str, list[str]] = {name: [] for name in models}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """During a forward pass of each model."""
        with ExitStack() as hooks:
            for name, model in self.models.items():
                for path, layer in model.named_modules():
                    if isinstance(layer, _BatchNorm) and _learns(layer):
                        hooks.callback(layer.register_forward_pre_hook(self._note(self.layers[name], path)).remove)
            yield

    @staticmethod
    def _note(layers: list[str], path: str) -> Any:
        def note(layer: nn.Module, args: tuple[Any, ...]) -> None:
            input = args[0] if args else None
            if isinstance(input, Tensor) and input.dim() > 1 and input.shape[:2].numel() == input.numel():
                layers.append(path)

        return note

    def findings(self, name: str, samples: int, batch_size: int, last: int) -> Iterator[Finding]:
        """Of the model `name`, if the last batch of the training data has one sample."""
        if last != 1 or not (layers := self.layers[name]):
            return
        what = f"BatchNorm ({layers[0]}) cannot train on a batch of one sample"
        found = f"{samples:,} training samples in batches of {batch_size}: the last has 1 sample"
        hint = "set data.loader.drop_last: true, another data.loader.batch_size, or use GroupNorm or LayerNorm there"
        yield Finding("loader", what, found, "", hint)


def _learns(layer: _BatchNorm) -> bool:
    own = list(layer.parameters())
    return not own or any(parameter.requires_grad for parameter in own)
