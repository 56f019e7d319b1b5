"""Batches and outputs of any kind keep their kind when their parts are changed."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.supervised import detached
from utils.device import to_device, with_parts

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
