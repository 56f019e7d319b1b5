"""The samples that a classifier did worst on, kept while an evaluation goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from base.evaluation.results import ClassResults, ReadBatch

UNLIKELY = "least likely by their own class: true class, predicted class and its probability"
SURE = "surest of a wrong class: true class, predicted class and its probability"
LABELS = "surest of a wrong label: the label, what is true, and the probability of the contrary"
MASKS = "lowest IoU: input, true mask, predicted mask"


@dataclass
class SamplePrediction:
    """A sample with a poor prediction."""

    badness: float
    index: int
    """Its position in the dataset."""
    caption: str
    target: int
    """The true class, or 0 or 1 for a label; -1 for a mask."""
    prediction: int
    probability: float
    """Of the prediction; of a mask its IoU."""
    input: Tensor = field(repr=False)
    masks: Sequence[Tensor] = field(default=(), repr=False)
    """int16 (H, W) each: the true mask, -1 where it does not count, and the predicted one; empty without masks."""


Candidates = Iterator[tuple[str, Tensor, Callable[[int], dict[str, Any]]]]
"""Of each kind its title, how bad each sample is, (B,), -inf for those that are right, and what is said of one."""


class WorstSamples:
    """At most `count` of each kind."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.found: dict[str, list[SamplePrediction]] = {}

    def add(self, results: ClassResults, batch: ReadBatch, inputs: Tensor, first: int, classes: Sequence[str]) -> None:
        """A batch that begins with the sample numbered `first`."""
        if results.dense:
            found = _of_masks(results, batch)
        elif results.task == "multilabel":
            found = _of_labels(batch, classes)
        else:
            found = _of_classes(batch, classes)
        for title, badness, about in found:
            worst = badness.topk(min(self.count, len(badness))).indices.tolist()
            kept = self.found.setdefault(title, [])
            kept += [
                SamplePrediction(float(badness[i]), first + i, input=inputs[i].cpu(), **about(i))
                for i in worst
                if badness[i] > -math.inf
            ]
            kept.sort(key=lambda sample: -sample.badness)
            del kept[self.count :]


def _of_classes(batch: ReadBatch, classes: Sequence[str]) -> Candidates:
    assert batch.probabilities is not None
    true, predicted, highest = batch.true[:, 0], batch.predicted[:, 0], batch.confidence[:, 0]
    own = batch.probabilities.gather(1, true.clamp(0, len(classes) - 1)[:, None])[:, 0]
    wrong = (true != predicted) & batch.kept[:, 0]

    def about(i: int) -> dict[str, Any]:
        target, prediction, probability = int(true[i]), int(predicted[i]), float(highest[i])
        caption = f"{classes[target]}\n{classes[prediction]} {probability:.2f}"
        return {"caption": caption, "target": target, "prediction": prediction, "probability": probability}

    yield UNLIKELY, (-own).where(wrong, -math.inf), about
    if len(classes) > 2:  # else they are the same
        yield SURE, highest.where(wrong, -math.inf), about


def _of_labels(batch: ReadBatch, classes: Sequence[str]) -> Candidates:
    wrong = ~batch.right[:, :, 0] & batch.kept[:, :, 0]
    badness, label = batch.confidence[:, :, 0].where(wrong, -math.inf).max(1)

    def about(i: int) -> dict[str, Any]:
        number, probability = int(label[i]), float(badness[i])
        target, prediction = int(batch.true[i, number, 0]), int(batch.predicted[i, number, 0])
        caption = (
            f"{classes[number]}\n{'yes' if target else 'no'}, {probability:.2f} for {'yes' if prediction else 'no'}"
        )
        return {"caption": caption, "target": target, "prediction": prediction, "probability": probability}

    yield LABELS, badness, about


def _of_masks(results: ClassResults, batch: ReadBatch) -> Candidates:
    """Of classes; a mask for each label is not drawn."""
    if len(results.mask_shape) != 2 or results.task == "multilabel":
        return
    _, accuracy, iou = map(torch.tensor, results.of_samples(batch))
    wrong = accuracy < 1

    def about(i: int) -> dict[str, Any]:
        true = batch.true[i].where(batch.kept[i], -1)
        masks = [mask.reshape(results.mask_shape).to(torch.int16) for mask in (true, batch.predicted[i])]
        caption = f"IoU {iou[i]:.2f}, accuracy {accuracy[i]:.2f}"
        return {"caption": caption, "target": -1, "prediction": -1, "probability": float(iou[i]), "masks": masks}

    yield MASKS, (-iou.nan_to_num(1.0)).where(wrong, -math.inf), about
