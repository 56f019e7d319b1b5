"""Each row of the table of losses, tasks and metrics in docs/training.md is a run, held against torchmetrics."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional as functional
import torchmetrics.functional.classification as tm
import yaml
from torch import Tensor, nn

from base import LOSSES, MODELS, fit
from base.registry import LOSSES as ALL_LOSSES
from base.run import Run
from tests.small_run import rows

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"
SIZES = {"B": 40, "C": 5, "L": 4, "K": 3, "T": 7, "H": 6, "W": 5, "1": 1}


def table() -> list[dict[str, str]]:
    text = PAGE.read_text(encoding="utf-8")
    section = text[text.index("## Losses and metrics of each task") :].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    head, _, *found = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(head, row, strict=True)) for row in found]


def plain(cell: str) -> list[Any]:
    """What stands in backticks, as YAML."""
    return [yaml.safe_load(text) for text in re.findall("`([^`]+)`", cell)]


def shape_of(cell: str) -> tuple[str, tuple[int, ...]]:
    """`logits (B, C)` in words and numbers, without the B."""
    words, text = re.fullmatch(r"(.+) `\((.+)\)`", cell).groups()  # type: ignore[union-attr]
    first, *rest = (name.strip() for name in text.split(",") if name.strip())
    assert first == "B"
    return words, tuple(SIZES[name] for name in rest)


@MODELS.register
class Shaped(nn.Module):
    """A linear layer whose values get a shape, and an end as the words for them say."""

    def __init__(self, shape: list[int], kind: str) -> None:
        super().__init__()
        self.layer, self.shape, self.kind = nn.Linear(6, math.prod(shape)), shape, kind

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x).reshape(len(x), *self.shape)
        if self.kind == "log-probabilities":
            return out.log_softmax(1)
        return out.sigmoid() if self.kind == "probabilities" else out


@LOSSES.register
def tokens_loss(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.transpose(1, 2), target)


def targets(kind: str, shape: tuple[int, ...], ignored: int | None) -> Any:
    generator = np.random.default_rng(len(shape))
    whole = (SIZES["B"], *shape)
    if kind == "class numbers":
        numbers = generator.integers(0, SIZES["C"], whole)
        return np.where(generator.random(whole) < 0.2, ignored, numbers) if ignored is not None else numbers
    if kind == "shares":
        values = generator.random(whole)
        return (values / values.sum(1, keepdims=True)).astype("float32")
    values = generator.normal(size=whole)
    return (values > 0.3 if kind == "0 or 1" else values).astype("float32")


def reference(name: str, args: dict[str, Any], kind: str, output: Tensor, target: Tensor) -> float:
    if kind == "values":
        errors = output - target
        values = {
            "mean_squared_error": errors.square().mean(),
            "mean_absolute_error": errors.abs().mean(),
            "R2": functional.r2_score(output.flatten(), target.flatten()),
        }
        return float(values[name])
    if kind == "0 or 1":
        labels = args.get("task") == "multilabel"
        task: dict[str, Any] = {"task": "multilabel", "num_labels": target.shape[1]} if labels else {"task": "binary"}
        output, target = output if "threshold" in args else output.sigmoid(), target.long()
    else:
        target = target.argmax(1) if kind == "shares" else target
        output = output if output.shape[1] == SIZES["C"] else output.movedim(-1, 1)
        task = {"task": "multiclass", "num_classes": SIZES["C"], "ignore_index": args.get("ignore_index", -100)}
    if name in ("accuracy", "top_k_accuracy"):
        top = {"top_k": args["k"]} if "k" in args else {}
        return float(tm.accuracy(output, target, average="micro", **top, **task))
    functions = {"f1": tm.f1_score, "dice": tm.f1_score, "iou": tm.jaccard_index}
    function = functions.get(name) or getattr(tm, name)
    return float(function(output, target, average="macro", **task))


def run_of(folder: Path, row: dict[str, str]) -> Run:
    (loss,), (kind, shape), (target_kind, target_shape) = (
        plain(row["loss"]),
        *map(shape_of, (row["outputs"], row["targets"])),
    )
    ignored = loss["args"]["ignore_index"] if isinstance(loss, dict) else -100 if len(target_shape) == 1 else None
    x = np.random.default_rng(0).normal(size=(SIZES["B"], 6)).astype("float32")
    np.savez(folder / "data.npz", x=x, y=targets(target_kind, target_shape, ignored))
    arrays = {"type": "Arrays", "args": {"path": str(folder / "data.npz")}}
    config = {
        "name": "combination",
        "device": "cpu",
        "threads": 1,
        "data": {"train": arrays, "valid": arrays, "test": None, "loader": {"batch_size": 16}},
        "model": {"type": "Shaped", "args": {"shape": list(shape), "kind": kind}},
        "loss": loss,
        "metrics": plain(row["metrics"]),
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "trainer": {"epochs": 1, "tensorboard": False, "save_dir": str(folder / "saved"), "verbosity": 0},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return fit(folder / "config.yaml")


@pytest.mark.parametrize("row", table(), ids=lambda row: f"{row['task']}: {row['loss']}")
def test_each_combination_trains_and_measures_right(row: dict[str, str], tmp_path: Path) -> None:
    run = run_of(tmp_path, row)
    found = rows(run)[1]
    with np.load(tmp_path / "data.npz") as arrays, torch.no_grad():
        output, target = run.model.eval()(torch.from_numpy(arrays["x"])), torch.from_numpy(arrays["y"])
    for metric in plain(row["metrics"]):
        name, args = (metric, {}) if isinstance(metric, str) else (metric["type"], metric["args"])
        expected = reference(name, args, shape_of(row["targets"])[0], output, target)
        assert found[f"val_{name}"] == pytest.approx(expected, abs=1e-5), name
    (loss,) = plain(row["loss"])
    made: Any = ALL_LOSSES.get(loss["type"] if isinstance(loss, dict) else loss)
    if isinstance(made, type):
        made = made(**(loss["args"] if isinstance(loss, dict) else {}))
    if loss != "tokens_loss":  # it has no count: over tokens that do not count it is a mean of the batches' means
        assert found["val_loss"] == pytest.approx(float(made(output, target)), abs=1e-5)
