"""Batches of any form are counted by their samples, and keep their form when their parts are changed."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from trainer.supervised import detached
from utils.batches import SampleKeys, size_of, to_device, with_parts

Pair = namedtuple("Pair", "logits aux")


@dataclass(frozen=True)
class Output:
    logits: Any
    note: str = "plain"
    hidden: Any = field(default=None, init=False)


class ModelOutput(OrderedDict[str, Any]):
    """As that of Hugging Face: entries are attributes, too, and `update` is refused."""

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        object.__setattr__(self, key, value)

    def update(self, *args: Any, **kwargs: Any) -> None:
        raise TypeError("use item assignment")


class Rows(list[Any]):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def named_rows() -> Rows:
    rows = Rows("boxes")
    rows.append(torch.ones(2))
    return rows


def model_output() -> ModelOutput:
    output = ModelOutput()
    output["logits"] = torch.ones(2)
    return output


CASES = [
    Pair(torch.ones(2), None),
    Output(torch.ones(2)),
    model_output(),
    named_rows(),
    defaultdict(list, logits=torch.ones(2)),
    OrderedDict(logits=[torch.ones(2)]),
    {"logits": (torch.ones(2), 3)},
    torch.ones(3, 2).max(1),
]


@pytest.mark.parametrize("value", CASES, ids=lambda value: type(value).__name__)
def test_tensors_lose_their_graph_and_nothing_else_changes(value: Any) -> None:
    found: list[bool] = []

    def look(part: Any) -> Any:
        if isinstance(part, Tensor):
            found.append(part.requires_grad)
            return part
        return with_parts(part, look)

    def attached(part: Any) -> Any:
        if not isinstance(part, Tensor):
            return with_parts(part, attached)
        return part.clone().requires_grad_() if part.is_floating_point() else part

    output = attached(value)
    result = detached(output)
    assert type(result) is type(output) and getattr(result, "name", "") == getattr(value, "name", "")
    look(output), look(result)
    assert found[: len(found) // 2].count(True) == 1 and not any(found[len(found) // 2 :])
    assert type(to_device(output, torch.device("cpu"))) is type(value)


def test_attributes_of_an_output_are_detached_as_its_entries() -> None:
    output = model_output()
    output["logits"] = torch.ones(2, requires_grad=True)
    assert not detached(output).logits.requires_grad  # type: ignore[attr-defined]
    assert output.logits.requires_grad  # type: ignore[attr-defined]
    assert detached(MappingProxyType({"a": torch.ones(1)})) == {"a": torch.ones(1)}
    assert detached("text") == "text"


def images(count: int, channels: int = 3) -> list[Tensor]:
    return [torch.zeros(channels, 8 + number, 9) for number in range(count)]


def boxes(*counts: int) -> list[dict[str, Tensor]]:
    return [{"boxes": torch.zeros(count, 4), "labels": torch.zeros(count).long()} for count in counts]


FOUR = torch.zeros(4, 3, 8, 8)
LABELS = torch.zeros(4, dtype=torch.int64)
SIZES = {
    "one tensor": FOUR,
    "input and target": [FOUR, LABELS],
    "a tensor alone in a list": [FOUR],
    "with a rest of another length": (FOUR, LABELS, torch.zeros(10)),
    "windows of a series": [torch.zeros(4, 5, 2), torch.zeros(4, 3, 2)],
    "a target beside it is no tensor": (FOUR, ["a", "b", "c", "d"]),
    "a named tuple": Pair(FOUR, None),
    "a dataclass": Output(FOUR),
    "a dict": {"input": FOUR, "target": LABELS},
    "a dict that begins with a number": {"scale": torch.tensor(2.0), "split": "train", "input": FOUR},
    "a dict of dicts": {"views": {"left": FOUR, "right": FOUR}, "split": "train"},
    "a dict and a target": [{"image": FOUR, "size": FOUR}, LABELS],
    "two dicts": [{"image": FOUR}, {"label": LABELS}],
    "two inputs": [[torch.zeros(4, 7), FOUR], LABELS],
    "two inputs and two targets": [[torch.zeros(4, 7), FOUR], [LABELS, torch.zeros(4, 2)]],
    "detection": (tuple(images(4)), tuple(boxes(1, 2, 0, 5))),
    "detection, as many boxes as channels": (tuple(images(4)), tuple(boxes(3, 3, 3, 3))),
    "detection, in lists": (images(4), boxes(3, 3, 3, 3)),
    "detection, targets stacked": (images(4), LABELS),
    "images and numbers": (images(4), [1, 2, 3, 4]),
    "images and masks": (tuple(images(4)), tuple(images(4, 1))),
    "images and masks in lists": (images(4), images(4, 1)),
    "texts and numbers": (("a", "b", "c", "d"), (0, 1, 0, 1)),
    "a dict of lists": {"image": images(4), "target": boxes(3, 3, 3, 3)},
    "a dict of texts": {"text": ["a", "b", "c", "d"], "label": LABELS},
    "samples, dicts": [{"image": image, **rest} for image, rest in zip(images(4), boxes(3, 3, 3, 3), strict=True)],
    "samples, pairs": list(zip(images(4), boxes(3, 3, 3, 3), strict=True)),
    "samples, labelled": list(zip(images(4), range(4), strict=True)),
    "sequences": [torch.zeros(length).long() for length in (5, 7, 3, 2)],
    "sequences and targets": ([torch.zeros(length) for length in (5, 7, 3, 2)], torch.zeros(4, 1)),
    "packed": pack_sequence([torch.zeros(length, 2) for length in (7, 5, 3, 2)]),
    "packed, with a target": (pack_sequence([torch.zeros(length, 2) for length in (7, 5, 3, 2)]), LABELS),
    "an array": (np.zeros((4, 2)), ["a", "b", "c", "d"]),
}


@pytest.mark.parametrize("form", SIZES)
def test_a_batch_is_as_large_as_it_has_samples(form: str) -> None:
    assert size_of(SIZES[form]) == 4


def test_one_image_with_as_many_boxes_as_channels_is_one_sample() -> None:
    assert size_of((tuple(images(1)), tuple(boxes(3)))) == size_of((images(1), boxes(3))) == 1
    assert size_of([{"image": images(1)[0], **boxes(3)[0]}]) == 1


@pytest.mark.parametrize("batch", [torch.tensor(1.0), 3, "abc", None, {}, [], {"scale": torch.tensor(2.0)}])
def test_what_cannot_be_counted_is_named(batch: Any) -> None:
    with pytest.raises(ValueError, match="cannot count the samples of a batch"):
        size_of(batch)


@pytest.mark.parametrize(
    ("keys", "batch", "expected"),
    [
        (SampleKeys(), (1, 2), (1, 2)),
        (SampleKeys(target=-1), [1, 2, 3], (1, 3)),
        (SampleKeys("image", "label"), {"label": 2, "image": 1, "name": 3}, (1, 2)),
    ],
)
def test_input_and_target_are_found_alike_in_samples_and_batches(
    keys: SampleKeys, batch: Any, expected: tuple[Any, Any]
) -> None:
    assert keys.unpack(batch) == (keys.part("input", batch), keys.part("target", batch)) == expected
    assert SampleKeys(keys.input).unpack(batch, whole_target=True) == (expected[0], batch)


@pytest.mark.parametrize(
    ("keys", "batch", "message"),
    [
        (SampleKeys(target=2), (1, 2), "data.keys.target: expected a number below 2, the sample's size, found 2"),
        (SampleKeys(), (1, 2, 3), "a batch has 3 parts, and any may be the target: say which is input and target with"),
        (SampleKeys("x"), {"x": 1, "y": 2}, "say which is target with data.keys: {target: ...}"),
        (SampleKeys(), torch.ones(3), "a batch is a Tensor, not (input, target)"),
    ],
)
def test_a_batch_that_does_not_fit_the_keys_is_refused(keys: SampleKeys, batch: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        keys.unpack(batch)
