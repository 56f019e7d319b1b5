"""What a start says, line by line, and the table of layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from base import MODELS
from base.checks.preflight import ShapeProbe, described
from base.run import check, fit
from tests.base.test_collections import two
from tests.small_run import small_config

LINES = """\
device     cpu, 1 thread
data       FashionMNIST, 1x28x28 uint8 from 0 to 209, in memory
  train    256 samples in 4 batches of 64, 10 classes of 23 to 29
  valid    64 samples in 1 batch of 64, 10 classes of 3 to 9
  test     96 samples in 2 batches of 64, 10 classes of 9 to 10
model      MLP, 12,730 parameters
  input    1x28x28 float32 from 0 to 0.82
  output   10 float32 from LOW to HIGH
optimizer  SGD, lr 0.1, momentum 0.9
  rate     stays as it is
training   3 epochs of 4 steps
best       smallest val_loss
layer     kind     output  parameters   FLOPs
flatten   Flatten  784
layers.0  Linear   16          12,560  25,088
layers.1  ReLU     16
layers.2  Linear   10             170     320
"""


def said(capsys: pytest.CaptureFixture[str], garments: Path, folder: Path, **changes: Any) -> str:
    check(small_config(folder, garments, **{"trainer__verbosity": 2, **changes}))
    return without_first_weights(capsys.readouterr().out)


def without_first_weights(text: str) -> str:
    """The range of the untrained outputs is torch's affair."""
    return re.sub(r"(?<=10 float32 from )\S+ to \S+", "LOW to HIGH", text)


def test_a_check_tells_everything_in_a_line_each(
    garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, garments, tmp_path) == LINES


def test_a_start_tells_the_same_without_the_layers_and_names_the_folder(
    garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fit(small_config(tmp_path, garments, trainer__verbosity=2, trainer__epochs=1))
    lines = without_first_weights(capsys.readouterr().out).splitlines()
    expected = LINES.replace("3 epochs", "1 epoch").splitlines()[:12]
    assert lines[:13] == [*expected, f"run        {run.path}"]
    assert (run.path / "train.log").read_text().count("12,730 parameters") == 1


@pytest.mark.parametrize("verbosity", [0, 1])
def test_below_verbosity_2_nothing_of_it_is_said(
    verbosity: int, garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, garments, tmp_path, trainer__verbosity=verbosity) == ""


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"data__loader__in_memory": False}, "data       FashionMNIST, 1x28x28 uint8 from 0 to 209"),
        (
            {"data__valid": {"night": 0.1}, "trainer__monitor": "off"},
            "  valid_night 32 samples in 1 batch of 32, 10 classes of 1 to 6",
        ),
        (
            {"optimizer": {"type": "AdamW", "args": {"lr": 1e-3, "weight_decay": 0.05}}},
            "optimizer  AdamW, lr 0.001, weight_decay 0.05, fused",
        ),
        (
            {"lr_scheduler": [{"type": "LinearLR", "steps": 1}, {"type": "StepLR", "args": {"step_size": 1}}]},
            "  rate     from 0.0333: LinearLR at each epoch, for 1 epoch; then StepLR at each epoch, step_size 1",
        ),
        (
            {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "total_steps": "${trainer.total_steps}"}}},
            "  rate     from 0.004: OneCycleLR at each step, max_lr 0.1, total_steps 12",
        ),
        ({"lr_scheduler": "ReduceLROnPlateau"}, "  rate     from 0.1: ReduceLROnPlateau by val_loss"),
        (
            {"trainer__accumulate": 2, "trainer__clip": {"norm": 1.0}, "trainer__precision": "bf16"},
            "training   3 epochs of 2 steps, 2 batches a step, bf16, gradients clipped to norm 1",
        ),
        (
            {"trainer__ema": {"decay": 0.99}},
            "training   3 epochs of 4 steps, average of the weights with decay 0.99",
        ),
        (
            {"trainer__monitor": "max val_accuracy", "trainer__early_stop": 2},
            "best       largest val_accuracy; stops after 2 without a better one",
        ),
    ],
)
def test_what_is_out_of_the_ordinary_is_said(
    changes: dict[str, Any], line: str, garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in said(capsys, garments, tmp_path, **changes).splitlines()


@MODELS.register
class HalfFrozen(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(784, 10).requires_grad_(False), nn.Linear(10, 10))


def test_of_several_each_is_told_by_its_name(
    garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check(two(tmp_path, garments, trainer__verbosity=2))
    assert without_first_weights(capsys.readouterr().out).splitlines()[5:15] == [
        "model      left: MLP, 3,190 parameters",
        "  input    1x28x28 float32 from 0 to 0.82",
        "  output   10 float32 from LOW to HIGH",
        "model      right: MLP, 3,190 parameters",
        "  input    1x28x28 float32 from 0 to 0.82",
        "  output   10 float32 from LOW to HIGH",
        "optimizer  left: SGD, lr 0.1, momentum 0.9",
        "  rate     from 0.1: ExponentialLR at each epoch, gamma 0.5",
        "optimizer  right: Adam, lr 0.01, fused",
        "  rate     stays as it is",
    ]


def test_frozen_parameters_are_told_apart(garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, garments, tmp_path, model="HalfFrozen")
    assert "model      HalfFrozen, 7,960 parameters, 110 of them trained" in text


@MODELS.register
class Deep(nn.Sequential):
    def __init__(self) -> None:
        blocks = [nn.Sequential(*[kind(10, 10) for _ in range(25)]) for kind in (nn.Linear, nn.Identity)]
        super().__init__(nn.Flatten(), nn.Linear(784, 10), *blocks)


def test_a_deep_model_is_told_by_its_blocks(garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, garments, tmp_path, model="Deep")
    assert [line.split() for line in text[text.index("layer ") :].splitlines()[1:]] == [
        ["0", "Flatten", "784"],
        ["1", "Linear", "10", "7,850", "15,680"],
        ["2", "25", "layers", "10", "2,750", "5,000"],
        ["3", "25", "layers", "10"],
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(4, 3, dtype=torch.int64), "3 int64 from 0 to 0"),
        (torch.tensor([0.5, float("nan")]), "number float32 from nan to nan"),
        ({"ids": torch.ones(2, 7, dtype=torch.int64)}, "ids: 7 int64 from 1 to 1"),
        ((torch.ones(2, 1), torch.zeros(2, 5, dtype=torch.bool)), "1 float32 from 1 to 1, 5 bool"),
        (["some", "words"], "str, str"),
        (torch.zeros(2, 5, dtype=torch.uint16), "5 uint16"),
        (torch.zeros(2, 5, dtype=torch.complex64), "5 complex64"),
        (torch.eye(3).to_sparse(), "3 float32"),
        ("text", "str"),
    ],
)
def test_a_batch_in_words(value: Any, words: str) -> None:
    assert described(value) == words


def test_nothing_is_left_on_the_model() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    with ShapeProbe({"model": model}) as seen:
        model(torch.zeros(1, 2))
    assert not model._forward_hooks and not model._forward_pre_hooks
    model(torch.ones(3, 2))
    assert seen.inputs["model"] == "2 float32 from 0 to 0"
