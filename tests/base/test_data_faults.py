"""What a dataset gives and no model takes is a fault of the data, with what to write."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset

from base import DATASETS, MODELS, fit
from base.errors import ConfigError
from tests.small_run import rows, small_config


@DATASETS.register
class ToyParts(Dataset[Any]):
    """Forty samples of a `kind`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        label = index % 3
        numbers = np.full(4, label + index / 100, dtype=np.float32)
        return {
            "three": (numbers, np.ones(3, dtype=np.float32), label),
            "float64": (numbers.astype(np.float64), label),
            "bytes": (torch.full((1, 2, 2), index, dtype=torch.uint8), label),
            "pil": (Image.new("L", (2, 2), index), label),
            "texts": ("a few words", label),
            "dict": {"text": "a few words", "label": label},
            "dict of texts": {"input": "a few words", "target": label},
        }[self.kind]


@DATASETS.register
class ToyValues(Dataset[Any]):
    """A regression whose targets are Python's numbers."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> Any:
        return np.array([index, 1.0, 0.0, 0.0]) / 40, {"value": np.array([index / 40.0])}, index


@MODELS.register
class ToyLinear(nn.Module):
    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.layer = nn.Linear(4, outputs)

    def forward(self, input: Any) -> Any:
        return self.layer(input.flatten(1))


@MODELS.register
class ToyWordCounter(ToyLinear):
    """Takes texts."""

    def forward(self, input: Any) -> Any:
        return self.layer(torch.tensor([[float(len(text))] * 4 for text in input]))


def config(folder: Path, kind: str, **changes: Any) -> Path:
    plain: dict[str, Any] = {
        "data__train": {"type": "ToyParts", "args": {"kind": kind}},
        "data__valid": 0.25,
        "data__transform": {},
        "data__test": None,
        "data__loader__batch_size": 8,
        "model": "ToyLinear",
        "trainer__epochs": 1,
    }
    return small_config(folder, folder, **(plain | changes))


THREE = (
    "a batch has 3 parts, and any may be the target: say which is input and target with data.keys: "
    "{input: 0, target: 1}, or replace Trainer.unpack"
)
DICT = (
    "a batch is a dict with the keys text, label: say which is input and target with data.keys: "
    "{input: ..., target: ...}, or replace Trainer.unpack"
)


@pytest.mark.parametrize(
    ("kind", "keys", "key", "said"),
    [
        ("three", {}, "data.keys", THREE),
        ("dict", {}, "data.keys", DICT),
        (
            "bytes",
            {},
            "data.transform",
            "images come to the model as whole numbers, which it does not take (RuntimeError",
        ),
        (
            "pil",
            {},
            "data.transform.train",
            "no batch can be made of PIL images, as the inputs of ToyParts (train) are after their transforms; found L "
            "image of 2x2; expected tensors; add ToImage and ToFloat",
        ),
        (
            "texts",
            {},
            "data.transform",
            "texts come to the model as they are, which it does not take (AttributeError: ",
        ),
        (
            "dict of texts",
            {"input": "input", "target": "target"},
            "data.transform",
            "texts come to the model as they are, which it does not take (AttributeError: ",
        ),
    ],
)
def test_what_no_model_takes_is_told_at_the_data(
    kind: str, keys: dict[str, Any], key: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        fit(config(tmp_path, kind, data__keys=keys))
    (fault,) = error.value.faults
    assert fault.key == key and f": {key}: {said}" in str(fault), str(fault)


def test_the_ends_of_the_faults_say_what_to_write(tmp_path: Path) -> None:
    for kind, end in (
        (
            "bytes",
            "; found 1x2x2 uint8; expected floating point; add ToFloat to data.transform.train and data.transform.eval",
        ),
        (
            "texts",
            "; found 'a few words'; expected tensors; make numbers of them: a transform in data.transform, or "
            "data.loader.collate_fn",
        ),
    ):
        with pytest.raises(ConfigError) as error:
            fit(config(tmp_path, kind))
        assert str(error.value.faults[0]).endswith(end)


def test_what_the_faults_ask_for_is_enough(tmp_path: Path) -> None:
    fit(config(tmp_path, "three", data__keys={"input": 0, "target": 2}))
    fit(config(tmp_path, "texts", model="ToyWordCounter"))
    fit(config(tmp_path, "dict", model="ToyWordCounter", data__keys={"input": "text", "target": "label"}))
    fit(config(tmp_path, "bytes", data__transform={"train": ["ToFloat"], "eval": ["ToFloat"]}))
    steps = ["ToImage", "ToFloat"]
    fit(config(tmp_path, "pil", data__transform={"train": steps, "eval": steps}))


@pytest.mark.parametrize("in_memory", [True, False])
def test_float64_becomes_float32_with_one_line(
    in_memory: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(40, 4))
    np.savez(tmp_path / "data.npz", x=x, y=x[:, :1] ** 2)
    changes: dict[str, Any] = {"data__train": {"type": "Arrays", "args": {"path": str(tmp_path / "data.npz")}}}
    changes |= {"data__valid": 0.25, "data__test": None, "data__transform": {}, "metrics": [], "loss": "MSELoss"}
    changes["data__loader__batch_size"] = 8
    changes |= {"model": {"type": "ToyLinear", "args": {"outputs": 1}}, "data__loader__in_memory": in_memory}
    with caplog.at_level(logging.INFO):
        run = fit(small_config(tmp_path / "64", tmp_path, **changes, trainer__verbosity=2))
    told = [r.getMessage() for r in caplog.records if " become " in r.getMessage()]
    said = "inputs and targets are float64 and become float32"
    assert sorted(told) == [f"Arrays (train): {said}", f"Arrays (valid): {said}"]
    np.savez(tmp_path / "data.npz", x=x.astype(np.float32), y=(x[:, :1] ** 2).astype(np.float32))
    assert rows(run)[1:] == rows(fit(small_config(tmp_path / "32", tmp_path, **changes)))[1:]


def test_nested_targets_of_float64_become_float32_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"data__train": "ToyValues", "data__valid": None, "data__keys": {"input": 0, "target": 1}}
    changes |= {"loss": {"type": "MSELoss", "target": "value"}, "trainer__monitor": "min loss", "metrics": []}
    run = fit(config(tmp_path, "", **changes, model={"type": "ToyLinear", "args": {"outputs": 1}}))
    batch = next(iter(run.trainer.data.train.batches()))
    assert (batch[0].dtype, batch[1]["value"].dtype, batch[2].dtype) == (torch.float32, torch.float32, torch.int64)
