"""Callbacks that draw images into TensorBoard.

    callbacks: [InputGrid, ClassReport, {type: FeatureMaps, args: {every: 5}}]

They run at the first step or at the end of an epoch, on the validation data, and cost nothing in between.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from base.loop.callback import Callback
from base.registry import CALLBACKS

if TYPE_CHECKING:
    from torch import Tensor, nn

    from base.loop.base_trainer import BaseTrainer
    from base.protocols import Loader

log = logging.getLogger(__name__)


class Periodic(Callback):
    """Calls `report` at the end of every `every` epochs and of the last epoch."""

    def __init__(self, every: int = 1) -> None:
        if every < 1:
            raise ValueError(f"every must be 1 or more, found {every}")
        self.every = every
        self._warned = False

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        if self.is_due(trainer, row["epoch"]):
            self.report(trainer, row)

    def is_due(self, trainer: BaseTrainer, epoch: int) -> bool:
        return epoch % self.every == 0 or epoch == trainer.epochs

    @abstractmethod
    def report(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None: ...

    def warn_once(self, why: str) -> None:
        """Logs once why there is nothing to show."""
        if not self._warned:
            self._warned = True
            log.warning("%s shows nothing: %s", type(self).__name__, why)

    def validation(self, trainer: BaseTrainer) -> Loader | None:
        """The first validation set."""
        loader = next(iter(trainer.data.valid.values()), None)
        if loader is None:
            self.warn_once("there is no validation data")
        return loader


@CALLBACKS.register
class InputGrid(Callback):
    """Draws `inputs/train`: the first `count` images as the model gets them, after augmentation, with their labels.

    The labels are known if the loss is a module that is called with (output, class numbers), such as those of torch.nn.
    """

    def __init__(self, count: int = 32) -> None:
        self.count = count
        self._images: Tensor | None = None
        self._labels: Tensor | None = None
        self._handles: list[Any] = []
        self._drawn = False

    def on_fit_start(self, trainer: BaseTrainer) -> None:
        from torch import nn

        if trainer.progress.step:
            return
        model: nn.Module = next(iter(trainer.models.values()))
        criterion = next(iter(trainer.criteria.values()))
        self._handles = [model.register_forward_pre_hook(self._see_images)]
        if isinstance(criterion, nn.Module):
            self._handles.append(criterion.register_forward_pre_hook(self._see_labels))
        for optimizer in trainer.optimizers.values():
            self._handles.append(optimizer.register_step_pre_hook(lambda *_: self._draw(trainer)))

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        self._forget()

    def on_fit_end(self, trainer: BaseTrainer, reason: str) -> None:
        self._forget()

    def _see_images(self, model: nn.Module, inputs: Any) -> None:
        from torch import Tensor

        if self._images is None and inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() in (3, 4):
            self._images = inputs[0][: self.count].detach().clone()

    def _see_labels(self, criterion: nn.Module, inputs: Any) -> None:
        from torch import Tensor

        target = inputs[1] if len(inputs) == 2 else None
        if self._labels is None and isinstance(target, Tensor) and target.dim() == 1 and not target.is_floating_point():
            self._labels = target[: self.count].clone()

    def _draw(self, trainer: BaseTrainer) -> None:
        from utils import plots

        if self._drawn:
            return
        self._drawn = True
        if self._images is None:
            log.warning("InputGrid shows nothing: the model's input is not a batch of images")
        else:
            names = dict(enumerate(trainer.data.decisions.get("classes") or ()))
            captions = [""] * len(self._images)
            if self._labels is not None:
                captions = [names.get(label, str(label)) for label in self._labels.tolist()]
            drawn = plots.images([("training inputs, augmented", self._images, captions)])
            trainer.log.writer.add_png("inputs/train", drawn, trainer.progress.step + 1)

    def _forget(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._images, self._labels = [], None, None


@CALLBACKS.register
class ClassReport(Periodic):
    """Reports a classifier's performance on the validation data every `every` epochs, in one pass over the data.

    It draws `confusion/val` (not for several labels), `per_class/val` (precision, recall, F1), `calibration/val`, and
    `worst/val`: the `samples` whose true class got the lowest probability, and the same number of the most confident
    wrong predictions; of several labels those with the most confident wrong label; of masks those with the lowest IoU.
    It logs the curves `ece/val` and `f1/<class>`.
    """

    def __init__(self, every: int = 1, samples: int = 16) -> None:
        super().__init__(every)
        self.samples = samples

    def report(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        from base.evaluation.evaluate import draw
        from base.evaluation.predictions import collect_predictions

        loader = self.validation(trainer)
        if loader is None:
            return
        found = collect_predictions(trainer, loader, "class report", self.samples)
        if found.results is None:
            return self.warn_once("outputs and targets are not those of a classifier")
        writer, step = trainer.log.writer, row["step"]
        for name, drawn in draw(found).items():
            writer.add_png(f"{name}/val", drawn, step)
        writer.add_scalar("ece/val", found.results.ece, step)
        for name, scores in zip(found.classes, found.results.class_scores, strict=True):
            writer.add_scalar(f"f1/{name}", scores.f1, step)


@CALLBACKS.register
class FeatureMaps(Periodic):
    """Draws `features/<layer>`: the first validation image, and up to `filters` filters of the first convolution next
    to their outputs.
    """

    def __init__(self, every: int = 1, filters: int = 16) -> None:
        super().__init__(every)
        self.filters = filters

    def report(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        from torch import nn

        from base.evaluation.predictions import watch_layers
        from utils import plots

        loader = self.validation(trainer)
        if loader is None:
            return
        shown: dict[str, bytes] = {}

        def note(name: str, layer: Any, input: Any, output: Tensor) -> None:
            if not shown:
                weight = layer.weight[: self.filters]
                shown[name] = plots.filters(input[0][0], weight, output[0][: self.filters], name)

        watch_layers(trainer, loader, (nn.Conv2d,), note)
        if not shown:
            return self.warn_once("the model has no Conv2d")
        for name, drawn in shown.items():
            trainer.log.writer.add_png(f"features/{name}", drawn, row["step"])


@CALLBACKS.register
class SampleImages(Callback):
    """Draws a grid of `rows` x `columns` generated images after every epoch. The trainer's `samples(count)` returns
    them: (count, C, H, W), clamped to [0, 1]."""

    def __init__(self, rows: int = 4, columns: int = 8) -> None:
        self.rows, self.columns = rows, columns

    def on_epoch_end(self, trainer: BaseTrainer, row: Mapping[str, Any]) -> None:
        generator: Any = trainer
        training = {model: model.training for model in trainer.models.values()}
        for model in training:
            model.eval()
        with torch.no_grad():  # tensors that a model keeps from inference_mode cannot be used in training
            images = generator.samples(self.rows * self.columns).float().clamp(0, 1).cpu()
        for model, mode in training.items():
            model.train(mode)
        grid = torch.cat([torch.cat([*line], -1) for line in images.unflatten(0, (self.rows, self.columns))], -2)
        trainer.log.writer.add_image("samples", grid.numpy(), trainer.progress.step)
