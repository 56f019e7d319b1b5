"""Foresees a training batch of one sample that BatchNorm cannot learn from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from utils.batches import size_of

if TYPE_CHECKING:
    from base.config import Config
    from base.loop.base_trainer import BaseTrainer

_HINT = "or use GroupNorm or LayerNorm in the model"


class LoneSample:
    """Watches which BatchNorm layers see one value a channel of each sample: these fail on a training batch of one.

    A layer after a convolution sees a value a pixel and does not fail. Nor do frozen layers, whose statistics stay.
    """

    def __init__(self, trainer: BaseTrainer) -> None:
        self.trainer = trainer
        self.layers: dict[str, dict[str, _BatchNorm]] = {name: {} for name in trainer.models}
        self._samples = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """During a forward pass of each model."""
        with ExitStack() as hooks:
            for name, model in self.trainer.models.items():
                hooks.callback(model.register_forward_pre_hook(self._count, with_kwargs=True).remove)
                for path, layer in model.named_modules():
                    if isinstance(layer, _BatchNorm):
                        hooks.callback(layer.register_forward_pre_hook(self._note(self.layers[name], path)).remove)
            yield

    def _count(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._samples = size_of(args[0] if args else kwargs)
        except ValueError:  # an input of a kind of its own
            self._samples = 0

    def _note(self, layers: dict[str, _BatchNorm], path: str) -> Any:
        def note(layer: _BatchNorm, args: tuple[Any, ...]) -> None:
            input = args[0] if args else None
            if not isinstance(input, Tensor) or input.dim() < 2 or len(input) != self._samples:
                return
            if input.shape[:2].numel() == input.numel():
                layers[path] = layer

        return note

    def refuse(self, config: Config) -> None:
        """ConfigError if a layer would learn from the last batch, which has one sample."""
        train = self.trainer.data.train
        if config.written("data.loader.batch_sampler") or not self._is_reached():
            return
        learning = [path for name in self.layers for path in self._learning(name)]
        if not learning:
            return
        what = f"BatchNorm ({learning[0]}) cannot train on a batch of one sample"
        if train.batch_size == 1:
            key, found, hint = "batch_size", "1", "set data.loader.batch_size: 2 or more with drop_last: true"
        else:
            key = "drop_last" if config.written("data.loader.drop_last") else "batch_size"
            found = f"{train.size:,} samples in batches of {train.batch_size}, so the last batch has one"
            hint = "set data.loader.drop_last: true, or another data.loader.batch_size"
        raise config.error(f"data.loader.{key}", what, found, "2 samples or more in each", f"{hint}, {_HINT}")

    def _is_reached(self) -> bool:
        """Short runs with `steps_per_epoch` may end before the last batch of the first pass."""
        steps = math.ceil(len(self.trainer.data.train) / self.trainer.settings.accumulate)
        return self.trainer.epochs * self.trainer.steps_per_epoch >= steps

    def _learning(self, name: str) -> list[str]:
        """The layers that are in train mode in one of the epochs, by what the config freezes and the model's own
        `train`."""
        model = self.trainer.models[name]
        modes = {module: module.training for module in model.modules()}
        model.train()
        freezing = self.trainer.parts.freezing.get(name)
        frozen = freezing.frozen(self.trainer.epochs) if freezing is not None else []
        still = {inner for module in frozen for inner in module.modules()}
        learning = [path for path, layer in self.layers[name].items() if layer.training and layer not in still]
        for module, mode in modes.items():
            module.training = mode
        return learning
