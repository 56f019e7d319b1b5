"""Images that a generator makes, in TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from base.base_callback import Callback
from base.registry import CALLBACKS

if TYPE_CHECKING:
    from base.base_trainer import BaseTrainer


@CALLBACKS.register
class SampleImages(Callback):
    """A grid of `rows` times `columns` after every epoch, from the trainer's `samples(count)`: (count, C, H, W) in
    [0, 1]."""

    def __init__(self, rows: int = 4, columns: int = 8) -> None:
        self.rows, self.columns = rows, columns

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        generator: Any = trainer
        training = {model: model.training for model in trainer.models.values()}
        for model in training:
            model.eval()
        with torch.no_grad():  # under inference_mode, what a model keeps could not be trained with
            images = generator.samples(self.rows * self.columns).float().clamp(0, 1).cpu()
        for model, mode in training.items():
            model.train(mode)
        grid = torch.cat([torch.cat([*line], -1) for line in images.unflatten(0, (self.rows, self.columns))], -2)
        trainer.log.writer.add_image("samples", grid.numpy(), trainer.progress.step)
