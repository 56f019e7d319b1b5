"""Reads every sample of every dataset once and collects what a run would learn from."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Protocol

import torch
from torch import Tensor

from base.protocols import HasClasses
from data_loader.assemble import LoadedData
from data_loader.open_datasets import DatasetSplit, add_to_hash, describe_input
from data_loader.samples import END, Failure, SampleKeys, get_part, words
from data_loader.transforms import Pipeline, SampleError, as_tensor
from utils.device import bounds

TOGETHER = 256
"""Samples that are looked at in one go."""
WIDE = {torch.uint16, torch.uint32, torch.uint64}
"""Types that torch does next to nothing with."""
NUMBERS_OF_THINGS = {torch.int32, torch.int64}
"""Types of inputs that count or name something, such as words, and have no mean."""
MOST_CHANNELS = 64
"""With more, a list of means is nothing to paste."""


class ProgressSink(Protocol):
    def begin(self, title: str, total: int, start: int = 0) -> None: ...
    def advance(self, read: Any) -> None: ...
    def end(self) -> None: ...


@dataclass
class Range:
    """The least and the largest number; None before there was one."""

    low: float | None = None
    high: float | None = None

    def add(self, tensor: Tensor) -> None:
        if known := bounds(tensor.nan_to_num() if tensor.is_floating_point() else tensor):
            low, high = known
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)


@dataclass
class Moments:
    """Mean and standard deviation per channel (dimension 0 of a sample), over samples and all other dimensions.

    Sums are those of differences from each channel's first value, for the reason that model.metrics.R2 gives.
    """

    count: int = 0
    shift: Tensor | None = None
    sums: Tensor | None = None
    squares: Tensor | None = None
    mixed: bool = False

    def add(self, batch: Tensor) -> None:
        """(B, C, ...), any floating point. Nothing is known once C differs."""
        if self.sums is not None and len(self.sums) != batch.shape[1]:
            self.mixed = True
        if self.mixed:
            return
        values = batch.double().nan_to_num().transpose(0, 1).flatten(1)
        if self.shift is None:
            self.shift = values[:, :1].clone()
        values = values - self.shift
        sums, squares = values.sum(1), values.square().sum(1)
        self.sums = sums if self.sums is None else self.sums + sums
        self.squares = squares if self.squares is None else self.squares + squares
        self.count += values.shape[1]

    def result(self) -> tuple[list[float], list[float]] | None:
        """None where there is nothing that means and deviations could be of."""
        if self.shift is None or self.sums is None or self.squares is None or self.mixed:
            return None
        shifted = self.sums / self.count
        variance = self.squares / self.count - shifted.square()
        return (self.shift[:, 0] + shifted).tolist(), variance.clamp(min=0).sqrt().tolist()


@dataclass
class SetReport:
    """What was seen of one set. Samples go by the number that they have in the dataset as a whole."""

    label: str
    name: str
    size: int
    classes: Sequence[str] | None
    kinds: Counter[str] = field(default_factory=Counter)
    """Inputs in words, `1x28x28 uint8`, as they are read."""
    values: Range = field(default_factory=Range)
    after: Range = field(default_factory=Range)
    """Of what the transforms of the set give."""
    targets: Counter[int] = field(default_factory=Counter)
    target_values: Range = field(default_factory=Range)
    """Of targets that are no class numbers."""
    moments: Moments = field(default_factory=Moments)
    broken: list[str] = field(default_factory=list)
    not_finite: list[int] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    """All of one value."""
    by_content: dict[bytes, list[tuple[int, int | None]]] = field(default_factory=lambda: defaultdict(list))
    """Number and class of the samples with a content."""


def inspect(data: LoadedData, progress: ProgressSink) -> dict[str, SetReport]:
    """By label, train first. A sample that cannot be read or transformed raises nothing: it is named in `broken`."""
    scale = up_to_normalize(data)
    found = {}
    for label in sorted(data.opened, key=lambda label: ["train", "valid", "test"].index(label.partition("_")[0])):
        one = data.opened[label]
        size = len(one.dataset) if one.streamed else len(one.indices())
        classes = one.dataset.classes if isinstance(one.dataset, HasClasses) else None
        found[label] = SetReport(label, one.name, size, classes)
        progress.begin(f"read {label}", -(-size // TOGETHER))
        _Reader(one, data.places, found[label], scale if label == "train" else None).read_all(progress)
        progress.end()
    return found


def up_to_normalize(data: LoadedData) -> Pipeline:
    """What the inputs of an evaluation go through before they are normalised."""
    others = [one for label, one in data.opened.items() if label != "train" and one.samples]
    transforms = others[0].samples.transform.transforms if others and others[0].samples else []
    names = [type(transform).__name__ for transform in transforms]
    return Pipeline(transforms[: names.index("Normalize")] if "Normalize" in names else transforms, 0)


class _Reader:
    """Of one set, with or without the moments of its inputs after `scale`."""

    def __init__(self, one: DatasetSplit, places: SampleKeys, found: SetReport, scale: Pipeline | None) -> None:
        assert one.samples is not None
        self.one, self.samples, self.places, self.found, self.scale = one, one.samples, places, found, scale

    def read_all(self, progress: ProgressSink) -> None:
        for numbers, samples in self._groups():
            self._content(numbers, samples)
            inputs = [get_part(sample, self.places.of_input(sample)) for sample in samples]
            own = self._transformed(self.samples.transform, inputs, numbers, tells=True)
            for batch in _stacked(own):
                self.found.after.add(batch)
            if self.scale is not None:
                for batch in _stacked(self._transformed(self.scale, inputs, numbers, tells=False)):
                    if batch.dim() > 1 and batch.shape[1] <= MOST_CHANNELS and batch.dtype not in NUMBERS_OF_THINGS:
                        self.found.moments.add(as_fraction(batch))
            progress.advance(dict)
        if self.one.streamed:
            self.found.size = sum(self.found.kinds.values()) + len(self.found.broken)

    def _groups(self) -> Iterator[tuple[list[int], list[Any]]]:
        """Numbers and samples of those that can be read."""
        numbers = list(range(self.found.size)) if self.one.streamed else self.one.indices().tolist()
        source = iter(self.one.dataset) if self.one.streamed else None
        take = self.one.dataset.__getitem__ if source is None else functools.partial(_next_of, source)
        for first in range(0, len(numbers), TOGETHER):
            group = numbers[first : first + TOGETHER]
            together = self.samples.read(take, 0, first, group) if source is None else []
            yield self._one_by_one(take, group) if isinstance(together, Failure) or source else (group, together)

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

    def _content(self, numbers: list[int], samples: list[Any]) -> None:
        found, by_kind = self.found, defaultdict[Any, list[tuple[int, Tensor]]](list)
        for number, sample in zip(numbers, samples, strict=True):
            value = get_part(sample, self.places.of_input(sample))
            digest = blake2b(digest_size=16)
            add_to_hash(digest, value)
            found.by_content[digest.digest()].append((number, self._class_of(sample)))
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
        try:
            target = as_numbers(get_part(sample, self.places.of_target(sample)))
        except ValueError:
            return None
        if target is None:
            return None
        if target.numel() == 1 and not target.is_floating_point():
            self.found.targets[int(target)] += 1
            return int(target)
        self.found.target_values.add(target)
        return None

    def _transformed(self, pipeline: Pipeline, inputs: list[Any], numbers: list[int], tells: bool) -> list[Any]:
        """Those that can be; `tells`: the others are broken."""
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
                if tells:
                    where = f"{self.found.name}: sample {number}, {failed.step}"
                    self.found.broken.append(f"{where}: {words(failed.error)}")
        return done


def _next_of(source: Iterator[Any], number: int) -> Any:
    return next(source, END)


def as_numbers(value: Any) -> Tensor | None:
    """A tensor of an image, array or number; None of a text and the like."""
    try:
        tensor = as_tensor(value)
        return tensor.long() if tensor.dtype in WIDE else tensor
    except (TypeError, ValueError, RuntimeError):
        return None


def _stacked(values: Sequence[Any]) -> Iterator[Tensor]:
    """Batches of those that are equal in shape and type."""
    by_kind: dict[tuple[Any, Any], list[Tensor]] = defaultdict(list)
    for tensor in map(as_numbers, values):
        if tensor is not None:
            by_kind[tensor.shape, tensor.dtype].append(tensor)
    yield from map(torch.stack, by_kind.values())


def as_fraction(batch: Tensor) -> Tensor:
    """Whole numbers as ToFloat scales them, divided by the largest of their type; floating point as it is."""
    if batch.is_floating_point():
        return batch
    return batch.double() if batch.dtype == torch.bool else batch.double() / torch.iinfo(batch.dtype).max


@dataclass(frozen=True)
class Shared:
    """Samples of one set whose inputs another has too, or the same set again: pairs of (there, here)."""

    pairs: list[tuple[int, int]]
    other_target: int
    """How many of them have another class there than here."""


def shared(first: SetReport, second: SetReport) -> Shared:
    """For each sample of `second` that `first` has too the first such one; for one set, the repetitions."""
    pairs, other = [], 0
    for content, here in second.by_content.items():
        there = first.by_content.get(content, [])
        for number, target in here if first is not second else here[1:]:
            if there:
                pairs.append((there[0][0], number))
                other += target != there[0][1]
    return Shared(pairs, other)


def leaks(found: Mapping[str, SetReport]) -> Iterator[tuple[str, str, Shared]]:
    """Every pair of sets, and each set with itself, where there is something."""
    labels = list(found)
    for i, first in enumerate(labels):
        for second in [*labels[i + 1 :], first]:
            both = shared(found[first], found[second])
            if both.pairs:
                yield first, second, both
