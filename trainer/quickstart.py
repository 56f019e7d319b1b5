"""A callback that prints the lines of PyTorch's quickstart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base.loop.callback import Callback
from base.registry import CALLBACKS

if TYPE_CHECKING:
    from torch import Tensor

    from base.loop.base_trainer import BaseTrainer


@CALLBACKS.register
class QuickstartLines(Callback):
    """Prints a line every `every` batches and two after each epoch."""

    def __init__(self, every: int = 100) -> None:
        self.every = every

    def on_step_end(self, trainer: BaseTrainer, terms: Mapping[str, Tensor]) -> None:
        progress, loader = trainer.progress, trainer.data.train
        if progress.epoch_step == 1:
            print(f"Epoch {progress.epoch}\n-------------------------------")
        if (progress.epoch_step - 1) % self.every == 0:
            read = progress.batch * loader.batch_size
            size = read if loader.size is None else loader.size
            print(f"loss: {terms['loss'].item():>7f}  [{min(read, size):>5d}/{size:>5d}]")

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        accuracy, loss = 100 * row["val_accuracy"], row["val_loss"]
        print(f"Test Error: \n Accuracy: {accuracy:>0.1f}%, Avg loss: {loss:>8f} \n")

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        print("Done!")
