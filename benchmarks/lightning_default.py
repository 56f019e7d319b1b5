"""Lightning in its default form: logger, bar and checkpoint on, loss and accuracy logged; quickstart's data."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from benchmarks.data import stamp_end
from benchmarks.job import Job, stamp
from benchmarks.models import build
from benchmarks.quickstart import dataset

try:
    import lightning.pytorch as lightning
except ImportError:
    import pytorch_lightning as lightning


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    def __init__(self, job: Job) -> None:
        super().__init__()
        self.job, self.model = job, build(job.model)

    def step(self, batch: Any, name: str) -> torch.Tensor:
        inputs, targets = batch
        output = self.model(inputs)
        loss = nn.functional.cross_entropy(output, targets)
        self.log(f"{name}_loss", loss, prog_bar=True)
        self.log(f"{name}_accuracy", (output.argmax(1) == targets).float().mean(), prog_bar=True)
        return loss

    def training_step(self, batch: Any, number: int) -> torch.Tensor:
        return self.step(batch, "train")

    def validation_step(self, batch: Any, number: int) -> None:
        self.step(batch, "val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.job.rate)


class Stamps(lightning.Callback):  # type: ignore[misc]
    def __init__(self, every_step: bool) -> None:
        self.every_step = every_step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if self.every_step:
            stamp("step")

    def on_train_epoch_end(self, *_: Any) -> None:
        stamp("epoch")


def main(argv: Sequence[str]) -> None:
    job = Job.read(argv[0])
    torch.set_num_threads(1)
    torch.manual_seed(0)
    module = Classifier(job)
    train = DataLoader(dataset(job, train=True), batch_size=job.batch, shuffle=True)
    test = DataLoader(dataset(job, train=False), batch_size=job.batch) if job.images else None
    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=job.epochs, accelerator="cpu", default_root_dir=folder, callbacks=[Stamps(job.every_step)]
        )
        trainer.fit(module, train, test)
        for _ in range(job.evaluations):
            stamp("evaluate")
            scores = trainer.validate(module, test, verbose=False)
            stamp("evaluated", loss=scores[0]["val_loss"])
    stamp_end(module.model, job.data)


if __name__ == "__main__":
    main(sys.argv[1:])
