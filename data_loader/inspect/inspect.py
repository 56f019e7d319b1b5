"""Reads every sample of every dataset once and collects statistics, duplicates and broken samples."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from base.protocols import HasClasses
from data_loader.checks import content_of
from data_loader.loaders import LoadedData
from data_loader.open_datasets import DatasetSplit, describe_input
from data_loader.samples import END, Failure, words
from data_loader.streams import stream_length
from data_loader.transforms import Pipeline, SampleError, as_tensor
from utils.batches import SampleKeys
from utils.device import bounds

GROUP = 256
"""Samples that are examined at once."""
MOST_OF_A_STREAM = 100_000
"""Samples that are read of a stream which does not say how many it has."""
WIDE = {torch.uint16, torch.uint32, torch.uint64}
"""Types for which torch has hardly any operations."""
COUNTS = {torch.int32, torch.int64}
"""Types of inputs that count or name something, such as words; their mean says nothing."""
MOST_CHANNELS = 64
"""With more channels, a list of means is too long to paste."""


class ProgressSink(Protocol):
    def begin(self, title: str, total: int, start: int = 0) -> None: ...
    def advance(self, read: Any) -> None: ...
    def end(self) -> None: ...


@dataclass
class Range:
    """The smallest and the largest value; None if there was no value."""

    low: float | None = None
    high: float | None = None

    def add(self, tensor: Tensor) -> None:
        if known := bounds(tensor.nan_to_num() if tensor.is_floating_point() else tensor):
            low, high = known
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)


class Moments:
    """Mean and standard deviation of each channel (dimension 0 of a sample), over samples and all other dimensions.

    The batches' own moments are merged, since sums of squares would lose the deviation of values far from zero.
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = torch.zeros(())
        self.mixed = False

    def add(self, batch: Tensor) -> None:
        """(B, C, ...), floating point. There is no result once C differs."""
        values = batch.double().nan_to_num().transpose(0, 1).flatten(1)
        if self.count and len(self.mean) != len(values):
            self.mixed = True
        if self.mixed:
            return
        variance, mean = torch.var_mean(values, 1, correction=0)
        before, self.count = self.count, self.count + values.shape[1]
        away, share = mean - self.mean, values.shape[1] / self.count
        self.mean = self.mean + away * share
        self.squares = self.squares + variance * values.shape[1] + away.square() * before * share

    def result(self) -> tuple[list[float], list[float]] | None:
        """(means, standard deviations); None without values or with different numbers of channels."""
        if self.mixed or not self.count:
            return None
        return self.mean.tolist(), (self.squares / self.count).sqrt().tolist()


@dataclass
class SetReport:
    """What was found in one dataset split. Samples are named by their index in the whole dataset."""

    label: str
    name: str
    size: int
    classes: Sequence[str] | None
    kinds: Counter[str] = field(default_factory=Counter)
    """Descriptions of the inputs as they are read: `1x28x28 uint8`."""
    values: Range = field(default_factory=Range)
    after: Range = field(default_factory=Range)
    """The range after the transforms of the split."""
    targets: Counter[int] = field(default_factory=Counter)
    target_values: Range = field(default_factory=Range)
    """The range of targets that are not class numbers."""
    moments: Moments = field(default_factory=Moments)
    broken: list[str] = field(default_factory=list)
    not_finite: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    """Samples with a single value throughout."""
    by_content: dict[bytes, list[tuple[int, int | None]]] = field(default_factory=lambda: defaultdict(list))
    """Index and class of the samples by the hash of their input."""


def inspect(data: LoadedData, progress: ProgressSink) -> dict[str, SetReport]:
    """By label, train first. A sample that cannot be read or transformed is listed in `broken` and raises nothing."""
    scale = up_to_normalize(data)
    found = {}
    for label in sorted(data.opened, key=lambda label: ["train", "valid", "test"].index(label.partition("_")[0])):
        one = data.opened[label]
        size = (stream_length(one.dataset) or MOST_OF_A_STREAM) if one.streamed else len(one.indices())
        classes = one.dataset.classes if isinstance(one.dataset, HasClasses) else None
        found[label] = SetReport(label, one.name, size, classes)
        progress.begin(f"read {label}", -(-size // GROUP))
        _Reader(one, data.places, found[label], scale if label == "train" else None).read_all(progress)
        progress.end()
    return found


def up_to_normalize(data: LoadedData) -> Pipeline:
    """The transforms of evaluations up to Normalize."""
    others = [one for label, one in data.opened.items() if label != "train" and one.samples]
    transforms = others[0].samples.transform.transforms if others and others[0].samples else []
    names = [type(transform).__name__ for transform in transforms]
    return Pipeline(transforms[: names.index("Normalize")] if "Normalize" in names else transforms, 0)


class _Reader:
    """Reads one split into a report, with the moments of its inputs after `scale` unless that is None."""

    def __init__(self, one: DatasetSplit, places: SampleKeys, found: SetReport, scale: Pipeline | None) -> None:
        assert one.samples is not None
        self.one, self.samples, self.places, self.found, self.scale = one, one.samples, places, found, scale

    def read_all(self, progress: ProgressSink) -> None:
        for numbers, samples in self._groups():
            inputs = [self.places.part("input", sample) for sample in samples]
            self._content(numbers, samples, inputs)
            own = self._transformed(self.samples.transform, inputs, numbers, report=True)
            for batch in _stacked(own):
                self.found.after.add(batch)
            if self.scale is not None:
                for batch in _stacked(self._transformed(self.scale, inputs, numbers, report=False)):
                    if batch.dim() > 1 and batch.shape[1] <= MOST_CHANNELS and batch.dtype not in COUNTS:
                        self.found.moments.add(as_fraction(batch))
            progress.advance(dict)
        if self.one.streamed:
            self.found.size = sum(self.found.kinds.values()) + len(self.found.broken)

    def _groups(self) -> Iterator[tuple[list[int], list[Any]]]:
        """Indices and samples of those that can be read."""
        numbers = list(range(self.found.size)) if self.one.streamed else self.one.indices().tolist()
        source = iter(self.one.dataset) if self.one.streamed else None
        take = self.one.dataset.__getitem__ if source is None else lambda number: next(source, END)
        for first in range(0, len(numbers), GROUP):
            group = numbers[first : first + GROUP]
            if source is not None:
                yield (found := self._one_by_one(take, group))
                if not found[0]:
                    return
                continue
            together = self.samples.read(take, 0, first, group)
            yield self._one_by_one(take, group) if isinstance(together, Failure) else (group, together)

    def _one_by_one(self, take: Callable[[int], Any], group: list[int]) -> tuple[list[int], list[Any]]:
        good, samples = list[int](), list[Any]()
        for number in group:
            sample = self.samples.read(take, 0, number, [number])
            if isinstance(sample, Failure):
                self.found.broken.append(sample.message)
            elif sample:
                good.append(number)
                samples += sample
        return good, samples

    def _content(self, numbers: list[int], samples: list[Any], inputs: list[Any]) -> None:
        found, by_kind = self.found, defaultdict[Any, list[tuple[int, Tensor]]](list)
        for number, sample, value in zip(numbers, samples, inputs, strict=True):
            found.by_content[content_of(value)].append((number, self._class_of(sample)))
            found.kinds[describe_input(sample, self.places)] += 1
            if (tensor := as_numbers(value)) is not None:
                by_kind[tensor.shape, tensor.dtype].append((number, tensor))
        for members in by_kind.values():
            batch = torch.stack([tensor for _, tensor in members]).flatten(1)
            found.values.add(batch)
            finite = batch.isfinite().all(1)
            blank = (batch == batch[:, :1]).all(1) & finite & (members[0][1].dim() > 1)
            found.not_finite += [number for (number, _), fine in zip(members, finite.tolist(), strict=True) if not fine]
            found.blank += [number for (number, _), empty in zip(members, blank.tolist(), strict=True) if empty]

    def _class_of(self, sample: Any) -> int | None:
        target = target_of(sample, self.places)
        number = class_number(target)
        if number is not None:
            self.found.targets[number] += 1
        elif target is not None:
            self.found.target_values.add(target)
        return number

    def _transformed(self, pipeline: Pipeline, inputs: list[Any], numbers: list[int], report: bool) -> list[Any]:
        """The inputs that can be transformed; with `report`, the others are added to the broken ones."""
        if not inputs:
            return []
        try:
            return pipeline.on_samples(inputs, 0, numbers[0])
        except SampleError:
            done: list[Any] = []
        for value, number in zip(inputs, numbers, strict=True):
            try:
                done += pipeline.on_samples([value], 0, number)
            except SampleError as failed:
                if report:
                    where = f"{self.found.name}: sample {number}, {failed.step}"
                    self.found.broken.append(f"{where}: {words(failed.error)}")
        return done


def as_numbers(value: Any) -> Tensor | None:
    """A tensor for an image, array or number; None for anything else, such as a text."""
    try:
        tensor = as_tensor(value)
        return tensor.long() if tensor.dtype in WIDE else tensor
    except (TypeError, ValueError, RuntimeError):
        return None


def target_of(sample: Any, places: SampleKeys) -> Tensor | None:
    """None without a target, or if it is not numeric."""
    try:
        return as_numbers(places.part("target", sample))
    except ValueError:
        return None


def class_number(target: Tensor | None) -> int | None:
    """None for a target that is not a single integer."""
    return int(target) if target is not None and target.numel() == 1 and not target.is_floating_point() else None


def _stacked(values: Sequence[Any]) -> Iterator[Tensor]:
    """Batches of values with equal shape and dtype."""
    by_kind: dict[tuple[Any, Any], list[Tensor]] = defaultdict(list)
    for tensor in map(as_numbers, values):
        if tensor is not None:
            by_kind[tensor.shape, tensor.dtype].append(tensor)
    yield from map(torch.stack, by_kind.values())


def as_fraction(batch: Tensor) -> Tensor:
    """Integers divided by the largest value of their dtype, as ToFloat scales them; floating point unchanged."""
    if batch.is_floating_point():
        return batch
    return batch.double() if batch.dtype == torch.bool else batch.double() / torch.iinfo(batch.dtype).max


@dataclass(frozen=True)
class Shared:
    """Inputs that two splits share, or that one repeats: pairs of (index in the first, index in the second)."""

    pairs: list[tuple[int, int]]
    other_target: int
    """How many pairs differ in their class."""


def shared(first: SetReport, second: SetReport) -> Shared:
    """The first match in `first` of each sample of `second`; for a split and itself, the repetitions."""
    pairs, other = [], 0
    for content, here in second.by_content.items():
        there = first.by_content.get(content, [])
        for number, target in here if first is not second else here[1:]:
            if there:
                pairs.append((there[0][0], number))
                other += target != there[0][1]
    return Shared(pairs, other)


def leaks(found: Mapping[str, SetReport]) -> Iterator[tuple[str, str, Shared]]:
    """Every pair of splits that share samples, and every split that repeats some."""
    labels = list(found)
    for i, first in enumerate(labels):
        for second in [*labels[i + 1 :], first]:
            both = shared(found[first], found[second])
            if both.pairs:
                yield first, second, both
