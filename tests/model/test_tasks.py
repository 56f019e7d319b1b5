"""Metrics of every task of classification, held against torchmetrics, and what they refuse."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.classification as tm
import yaml
from torch import Tensor

from base import fit
from base.errors import ConfigError, MetricError
from base.registry import METRICS
from tests.small_run import rows

C = 5
Batch = tuple[Tensor, Tensor]


def absent(n: int) -> Batch:
    """The last class is neither a target nor predicted."""
    return torch.randn(n, C) - torch.tensor([0, 0, 0, 0, 99.0]), torch.randint(0, 4, (n,))


def pixels(n: int, ignored: int = 255) -> Batch:
    target = torch.randint(0, C, (n, 6, 4))
    return torch.randn(n, C, 6, 4), target.where(torch.rand(n, 6, 4) > 0.3, ignored)


def tokens(n: int) -> Batch:
    target = torch.randint(0, C, (n, 9)).where(torch.rand(n, 9) > 0.3, -100)
    return torch.randn(n, 9, C), target


def one_hot(n: int) -> Batch:
    return torch.randn(n, C), torch.nn.functional.one_hot(torch.randint(0, C, (n,)), C).float()


def soft(n: int) -> Batch:
    return torch.randn(n, C), torch.rand(n, C).softmax(1)


def labels(*shape: int, of: Callable[[Tensor], Tensor] = Tensor.float) -> Callable[[int], Batch]:
    """Outputs (n, *shape), and targets in the same shape."""
    return lambda n: (torch.randn(n, *shape), of(torch.rand(n, *shape) > 0.6))


def squeezed(*shape: int) -> Callable[[int], Batch]:
    """Outputs (n, 1, *shape), and whole numbers (n, *shape) as targets."""
    return lambda n: (torch.randn(n, 1, *shape), (torch.rand(n, *shape) > 0.6).long())


def some_ignored(n: int) -> Batch:
    return torch.randn(n, C, 4), (torch.rand(n, C, 4) > 0.6).float().where(torch.rand(n, C, 4) > 0.2, -1.0)


def same(output: Tensor, target: Tensor) -> Batch:
    return output, target


def hard(output: Tensor, target: Tensor) -> Batch:
    return output, target.argmax(1)


def classes_second(output: Tensor, target: Tensor) -> Batch:
    return output.movedim(-1, 1), target


def chances(output: Tensor, target: Tensor) -> Batch:
    return output.sigmoid().reshape(target.shape), target.long()


MULTICLASS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "classes": (lambda n: (torch.randn(n, C), torch.randint(0, C, (n,))), {}, same),
    "absent class": (absent, {}, same),
    "pixels, 255 ignored": (pixels, {"ignore_index": 255}, same),
    "pixels, class 0 ignored": (lambda n: pixels(n, 0), {"ignore_index": 0}, same),
    "tokens, classes last": (tokens, {"ignore_index": -100}, classes_second),
    "one-hot": (one_hot, {}, hard),
    "soft": (soft, {}, hard),
}
LABELS: dict[str, tuple[Any, dict[str, Any], Any]] = {
    "multilabel": (labels(C), {}, chances),
    "multilabel pixels, -1 ignored": (some_ignored, {"ignore_index": -1}, chances),
}
BINARY: dict[str, Any] = {
    "one logit": labels(),
    "a column": labels(1),
    "a column, whole targets": squeezed(),
    "pixels": labels(1, 4, 4),
    "pixels, whole targets": squeezed(4, 4),
    "bool targets": labels(of=Tensor.bool),
}
RATIOS = {"f1": "F1Score", "dice": "F1Score", "iou": "JaccardIndex", "precision": "Precision", "recall": "Recall"}
AVERAGES = ("micro", "macro", "weighted", "none")


def assert_equal(mine: Any, reference: Any, make: Callable[[int], Batch], view: Callable[..., Batch]) -> None:
    """Over four batches of different sizes."""
    torch.manual_seed(0)
    for size in (7, 1, 16, 5):
        output, target = make(size)
        mine.update(output, target)
        reference.update(*view(output, target))
    found = torch.as_tensor(mine.compute()).double()
    assert torch.allclose(found, reference.compute().double(), rtol=0, atol=1e-6), found


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("case", MULTICLASS)
def test_ratios_of_classes_equal_torchmetrics(case: str, name: str, average: str) -> None:
    make, args, view = MULTICLASS[case]
    reference = getattr(tm, f"Multiclass{RATIOS[name]}")(C, average=average, **args)
    assert_equal(METRICS.get(name)(average=average, **args), reference, make, view)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("case", LABELS)
def test_ratios_of_labels_equal_torchmetrics(case: str, name: str, average: str) -> None:
    make, args, view = LABELS[case]
    reference = getattr(tm, f"Multilabel{RATIOS[name]}")(C, average=average, **args)
    assert_equal(METRICS.get(name)(average=average, task="multilabel", **args), reference, make, view)


@pytest.mark.parametrize("name", RATIOS)
@pytest.mark.parametrize("case", BINARY)
def test_ratios_of_one_logit_equal_torchmetrics(case: str, name: str) -> None:
    assert_equal(METRICS.get(name)(), getattr(tm, f"Binary{RATIOS[name]}")(), BINARY[case], chances)


@pytest.mark.parametrize("case", [*MULTICLASS, *LABELS, *BINARY])
def test_accuracy_equals_torchmetrics(case: str) -> None:
    if case in BINARY:
        return assert_equal(METRICS.get("accuracy")(), tm.BinaryAccuracy(), BINARY[case], chances)
    make, args, view = (MULTICLASS | LABELS)[case]
    kind, told = ("Multiclass", {}) if case in MULTICLASS else ("Multilabel", {"task": "multilabel"})
    reference = getattr(tm, f"{kind}Accuracy")(C, average="micro", **args)
    assert_equal(METRICS.get("accuracy")(**args, **told), reference, make, view)


@pytest.mark.parametrize("case", MULTICLASS)
def test_top_k_equals_torchmetrics(case: str) -> None:
    make, args, view = MULTICLASS[case]
    reference = tm.MulticlassAccuracy(C, average="micro", top_k=2, **args)
    assert_equal(METRICS.get("top_k_accuracy")(k=2, **args), reference, make, view)


MULTI_HOT = torch.tensor([[1.0, 1, 0]] * 4)


@pytest.mark.parametrize(
    ("args", "output", "target", "message"),
    [
        ({}, torch.randn(4, 3), MULTI_HOT, r"rows do not sum to 1.*for several labels say args: \{task: multilabel\}"),
        ({}, torch.randn(4, 1), torch.rand(4, 1) * 9, "targets are no classes 0 and 1; for values use"),
        ({}, torch.randn(4, 1), torch.full((4, 1), 0.3), r"for shares of a class say args: \{task: binary\}"),
        ({}, torch.randn(4, 3), torch.zeros(4, 2), "these fit no task; binary takes"),
        (
            {"task": "multiclass"},
            torch.randn(4, 1),
            torch.zeros(4).long(),
            "with one output a sample the task is binary",
        ),
        (
            {"task": "multilabel"},
            torch.randn(4, 3),
            torch.zeros(4),
            "multilabel takes outputs and targets of one shape",
        ),
        ({}, {"logits": torch.randn(4, 3)}, torch.zeros(4), "choose tensors by `output` and `target`"),
    ],
)
def test_what_fits_no_task_is_refused(args: dict[str, Any], output: Any, target: Tensor, message: str) -> None:
    with pytest.raises(MetricError, match=f"Accuracy: .*{message}"):
        METRICS.get("accuracy")(**args).update(output, target)


def test_a_later_batch_cannot_turn_the_classes_around() -> None:
    metric = METRICS.get("accuracy")()
    metric.update(torch.randn(2, C, C), torch.zeros(2, C).long())
    with pytest.raises(
        MetricError, match=r"had its classes in dimension 1, and now .* say args: \{class_dim: \.\.\.\}"
    ):
        metric.update(torch.randn(2, 7, C), torch.zeros(2, 7).long())


@pytest.mark.parametrize(
    ("args", "target", "message"),
    [
        ({}, torch.tensor([0, -1, 2, 7]), "2 targets found that are no class of the outputs"),
        ({"ignore_index": -1}, torch.tensor([0, -1, 2, 7]), "1 target found that is no class of the outputs"),
        ({"task": "multilabel"}, torch.tensor([[0.0, 2, 1]] * 4), "4 targets found that are outside 0 to 1"),
    ],
)
def test_targets_that_are_no_classes_are_refused(args: dict[str, Any], target: Tensor, message: str) -> None:
    metric = METRICS.get("accuracy")(**args)
    metric.update(torch.randn(4, 3), target)
    with pytest.raises(MetricError, match=message):
        metric.compute()


def test_probabilities_cut_as_logits_are_noticed_once(caplog: pytest.LogCaptureFixture) -> None:
    metric = METRICS.get("accuracy")()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            metric.update(torch.rand(32), (torch.rand(32) > 0.5).float())
            metric.compute()
            metric.reset()
    assert [record.message for record in caplog.records] == [
        "warning: Accuracy cuts its outputs at 0, as logits, and all of them lie in 0 to 1: if they are probabilities, "
        "say args: {threshold: 0.5}"
    ]


def test_what_the_first_batch_decided_is_kept_over_a_resume() -> None:
    first, second = METRICS.get("f1")(), METRICS.get("f1")()
    first.update(torch.randn(2, C, C), torch.zeros(2, C).long())
    second.load_state_dict(first.state_dict())
    with pytest.raises(MetricError, match="had its classes in dimension 1"):
        second.update(torch.randn(2, 7, C), torch.zeros(2, 7).long())


@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error"])
def test_a_column_beside_a_row_is_not_broadcast(name: str) -> None:
    metric, output, target = METRICS.get(name), torch.randn(8, 1), torch.randn(8)
    assert torch.equal(metric(output, target), metric(output, target[:, None]))
    with pytest.raises(MetricError, match=rf"{name}: outputs of shape \(8, 2\) beside targets of \(8,\)"):
        metric(torch.randn(8, 2), target)


def table_config(tmp_path: Path, target: Any, model: dict[str, Any], **changes: Any) -> Path:
    """A small run over four random columns and their targets."""
    generator = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x=generator.normal(size=(80, 4)).astype("float32"), y=target(generator))
    config = {
        "name": "tasks",
        "threads": 1,
        "data": {
            "train": {"type": "Arrays", "args": {"path": str(tmp_path / "data.npz")}},
            "valid": 0.25,
            "test": None,
        },
        "model": {"type": "MLP", "args": {"input_shape": [4], "hidden": [8], **model}},
        "optimizer": {"type": "Adam", "args": {"lr": 0.01}},
        "trainer": {"epochs": 1, "tensorboard": False, "save_dir": str(tmp_path), "verbosity": 0},
        **changes,
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def test_one_logit_is_measured_as_torchmetrics_does(tmp_path: Path) -> None:
    metrics = ["accuracy", {"type": "Accuracy", "name": "reference", "args": {"task": "binary"}}]
    config = table_config(
        tmp_path,
        lambda generator: (generator.random((80, 1)) > 0.4).astype("float32"),
        {"num_classes": 1},
        loss="BCEWithLogitsLoss",
        metrics=metrics,
    )
    row = rows(fit(config))[1]
    assert row["val_accuracy"] == pytest.approx(row["val_reference"]) and row["val_accuracy"] < 1
    assert row["accuracy"] == pytest.approx(row["reference"])


def test_accuracy_of_a_regression_is_a_fault_at_its_place(tmp_path: Path) -> None:
    config = table_config(
        tmp_path,
        lambda generator: generator.normal(size=(80, 1)).astype("float32"),
        {"num_classes": 1},
        loss="MSELoss",
        metrics=["mean_squared_error", "accuracy"],
    )
    with pytest.raises(
        ConfigError, match=r"config.yaml:\d+:\d+: metrics\.1: .*targets are no classes 0 and 1"
    ) as caught:
        fit(config)
    assert len(caught.value.faults) == 1
