"""What a classifier got right and wrong, counted batch by batch: memory does not grow with the dataset."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from utils.classification import (
    ENOUGH,
    Bin,
    ClassScores,
    TaskReader,
    calibration_bins,
    calibration_sums,
    class_counts,
    class_scores,
    confusion_matrix,
    expected_calibration_error,
)

MOST_CLASSES = 1000
"""With more, there is no confusion matrix."""


@dataclass(frozen=True)
class ReadBatch:
    """A batch on the CPU: (B, P) for P positions a sample, 1 unless the task is dense; multilabel (B, L, P)."""

    true: Tensor
    """int64 class numbers; of a binary task and for labels 0 or 1."""
    predicted: Tensor
    """int64."""
    kept: Tensor
    """bool: whether the target counts."""
    confidence: Tensor
    """float32: the probability of the prediction."""
    probabilities: Tensor | None
    """float32 (B, C) or (B, L), with one position a sample: of the classes, or of each label."""

    @property
    def right(self) -> Tensor:
        return self.true == self.predicted


class ClassResults:
    """Counts of a classification of any task. `add` raises UnclearTask for what the reader does not take."""

    def __init__(self, reader: TaskReader) -> None:
        self.reader = reader
        self.names = 0
        """Classes, or labels."""
        self.dense = False
        """Whether a sample has several positions: pixels, tokens."""
        self.mask_shape: tuple[int, ...] = ()
        """Of a dense sample's classes: (H, W), or (T,)."""
        self.confusion: Tensor | None = None
        """int64 (C, C), rows are the true classes; not of labels, nor of too many classes."""
        self.counts: Tensor | None = None
        """int64 (3, C) or (3, L): hits, predicted, true."""
        self.strange = 0
        """Targets that the task does not know."""
        self._outputs = 0
        self._in_unit = True
        self._sums = calibration_sums(torch.zeros(0), torch.zeros(0))

    @property
    def task(self) -> str:
        return self.reader.task or ""

    @property
    def may_be_probabilities(self) -> bool:
        """Whether outputs that were read as logits all lie in 0 to 1."""
        logits = self.task != "multiclass" and self.reader.threshold == 0
        return logits and self._in_unit and self._outputs >= ENOUGH

    def add(self, output: Tensor, target: Tensor) -> ReadBatch:
        batch = self._read(output, target)
        self._count(batch)
        self._sums += calibration_sums(batch.confidence[batch.kept], batch.right[batch.kept])
        return batch

    def _read(self, output: Tensor, target: Tensor) -> ReadBatch:
        read = self.reader.read(output, target)
        chances = self.reader.probabilities(output)
        self.strange += int(read.strange)
        self._outputs += output.numel()
        self._in_unit = self._in_unit and bool(((output >= 0) & (output <= 1)).all())
        labels, size = self.task == "multilabel", len(target)
        self.names = 2 if self.task == "binary" else chances.shape[1]
        shape = (size, self.names, -1) if labels else (size, -1)
        true, predicted, kept = (x.reshape(shape).cpu() for x in (read.true, read.predicted, read.kept))
        true, predicted = true.long(), predicted.long()
        if self.task == "multiclass":
            confidence = chances.gather(1, read.predicted.unsqueeze(1)).reshape(shape).cpu()
        else:
            positive = chances.reshape(shape).cpu()
            confidence = torch.where(predicted > 0, positive, 1 - positive)
        self.dense, self.mask_shape = kept.shape[-1] != 1, tuple(read.true.shape[1:])
        if self.task == "binary" and self.mask_shape[:1] == (1,):  # the channel of the only logit
            self.mask_shape = self.mask_shape[1:]
        if self.dense:
            return ReadBatch(true, predicted, kept, confidence, None)
        if self.task == "binary":
            chances = torch.cat([1 - positive, positive], 1)
        return ReadBatch(true, predicted, kept, confidence, chances.reshape(size, self.names).cpu())

    def _count(self, batch: ReadBatch) -> None:
        if self.task == "multilabel":
            hits, predicted, true = (
                (one * batch.kept).sum((0, 2)) for one in (batch.true * batch.predicted, batch.predicted, batch.true)
            )
            found = torch.stack([hits, predicted, true])
        else:
            true, predicted = (x[batch.kept].clamp(0, self.names - 1) for x in (batch.true, batch.predicted))
            if self.names > MOST_CLASSES:
                found = pair_counts(true, predicted, self.names)
            else:
                matrix = confusion_matrix(true, predicted, self.names)
                self.confusion = matrix if self.confusion is None else self.confusion + matrix
                found = class_counts(matrix)
        self.counts = found if self.counts is None else self.counts + found

    @property
    def class_scores(self) -> list[ClassScores]:
        assert self.counts is not None
        return class_scores(self.counts)

    @property
    def calibration(self) -> list[Bin]:
        return calibration_bins(self._sums)

    @property
    def ece(self) -> float:
        return expected_calibration_error(self.calibration)

    def of_samples(self, batch: ReadBatch) -> tuple[list[int], list[float], list[float]]:
        """For each sample of a dense batch: the positions that count, the share of them that is right, and the mean IoU
        of the classes or labels that occur in it; of a binary task that of class 1. NaN where there are none."""
        kept = batch.kept.flatten(1)
        number = kept.sum(1)
        accuracy = (batch.right.flatten(1) & kept).sum(1) / number
        if self.task == "multilabel":
            hits, predicted, true = (
                (one * batch.kept).sum(2) for one in (batch.true * batch.predicted, batch.predicted, batch.true)
            )
        else:
            rows = torch.arange(len(kept))[:, None].expand_as(kept)[kept] * self.names
            true, predicted = (x[batch.kept].clamp(0, self.names - 1) + rows for x in (batch.true, batch.predicted))
            counts = pair_counts(true, predicted, len(kept) * self.names)
            hits, predicted, true = counts.reshape(3, len(kept), self.names)
        union = predicted + true - hits
        if self.task == "binary":
            hits, union = hits[:, 1:], union[:, 1:]
        iou = (hits / union).nanmean(1)
        return number.tolist(), accuracy.tolist(), iou.tolist()


def pair_counts(true: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """int64 (3, classes) of class numbers (N,): hits, predicted, true."""
    return torch.stack([torch.bincount(x, minlength=classes) for x in (true[true == predicted], predicted, true)])
