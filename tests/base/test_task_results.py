"""What an evaluation writes of each task: counts that equal torchmetrics, a line a sample, pictures, bounded memory."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from base import LOSSES, MODELS, cli, evaluate, fit
from base.evaluation import results
from base.evaluation.predict import predict
from base.evaluation.results import ClassResults
from base.run import Run
from utils.classification import TaskReader

N = 44


@MODELS.register
class Given(nn.Module):
    """Gives what it is given, moved by one number that is learned."""

    def __init__(self, classes_last: bool = False, flat: bool = False, squash: bool = False) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(()))
        self.classes_last, self.flat, self.squash = classes_last, flat, squash

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.shift
        if self.squash:
            x = x.sigmoid()
        return x.flatten() if self.flat else x.movedim(1, -1) if self.classes_last else x


def run_of(folder: Path, x: Any, y: Any, loss: Any, **changes: Any) -> Run:
    """A run whose weights hardly move, tested on the data it is trained on."""
    np.savez(folder / "data.npz", x=x, y=y)
    arrays = {"type": "Arrays", "args": {"path": str(folder / "data.npz")}}
    config = {
        "name": "task",
        "device": "cpu",
        "threads": 1,
        "data": {"train": arrays, "valid": arrays, "test": arrays, "loader": {"batch_size": 16}},
        "model": {"type": "Given", "args": changes.pop("model", {})},
        "loss": loss,
        "optimizer": {"type": "SGD", "args": {"lr": 1e-6}},
        "trainer": {"epochs": 1, "tensorboard": False, "save_dir": str(folder / "saved"), "verbosity": 0},
        **changes,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return fit(folder / "config.yaml")


def outcome_of(run: Run) -> tuple[dict[str, Any], list[dict[str, str]], set[str]]:
    """metrics.json, the rows of predictions.csv and the names of the pictures."""
    evaluate(run.path)
    folder = run.path / "test" / "test"
    table = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    return json.loads((folder / "metrics.json").read_text()), table, {path.stem for path in folder.glob("*.png")}


def rng(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def chances_of(table: list[dict[str, str]], *names: str) -> Tensor:
    return torch.tensor([[float(row[name]) for name in names] for row in table])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("told", [False, True])
def test_one_logit_has_two_classes(tmp_path: Path, flat: bool, told: bool) -> None:
    x = rng(N, 1)
    y = (x + 0.7 * np.random.default_rng(1).normal(size=x.shape) > 0).astype("float32")
    y = y[:, 0] if flat else y
    metrics = ["accuracy"] if told else []
    run = run_of(tmp_path, x, y, "BCEWithLogitsLoss", metrics=metrics, model={"flat": flat})
    result, table, pictures = outcome_of(run)
    chances, target = torch.tensor(x[:, 0]).sigmoid(), torch.tensor(y).flatten().long()
    assert result["task"] == "binary" and result["classes"] == ["0", "1"]
    assert result["confusion"] == tm.binary_confusion_matrix(chances, target).tolist()
    assert result["ece"] == pytest.approx(
        tm.multiclass_calibration_error(torch.stack([1 - chances, chances], 1), target, 2, n_bins=15).item(), abs=1e-4
    )
    assert result["per_class"]["1"]["recall"] == pytest.approx(tm.binary_recall(chances, target).item())
    assert torch.allclose(chances_of(table, "p(0)", "p(1)")[:, 1], chances, atol=1e-5)
    assert [int(row["target"]) for row in table] == target.tolist()
    assert pictures == {"confusion", "per_class", "calibration"}  # inputs that are no images are not drawn


def test_probabilities_of_bceloss_are_no_logits(tmp_path: Path) -> None:
    x = rng(N, 1)
    run = run_of(tmp_path, x, (x > 0).astype("float32"), "BCELoss", model={"squash": True}, metrics=[])
    assert outcome_of(run)[0]["confusion"][0][1] == 0


def test_other_outputs_in_0_to_1_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    x = rng(N, 1)
    run = run_of(tmp_path, x, (x > 0).astype("float32"), "MSELoss", model={"squash": True}, metrics=[])
    with caplog.at_level(logging.WARNING):
        outcome_of(run)
    assert "warning: the evaluation cuts its outputs at 0, as logits, and all of them lie in 0 to 1" in caplog.text


LABELS = {"type": "f1", "args": {"task": "multilabel", "average": "none"}}


def test_labels_have_a_row_each_and_no_confusion_matrix(tmp_path: Path) -> None:
    x = rng(N, 3)
    y = (x + np.random.default_rng(1).normal(size=x.shape) > 0.3).astype("float32")
    result, table, pictures = outcome_of(run_of(tmp_path, x, y, "BCEWithLogitsLoss", metrics=[LABELS]))
    chances, target = torch.tensor(x).sigmoid(), torch.tensor(y).long()
    assert result["task"] == "multilabel" and "confusion" not in result and pictures == {"per_class", "calibration"}
    for name, reference in (("f1", tm.multilabel_f1_score), ("precision", tm.multilabel_precision)):
        expected = reference(chances, target, 3, average="none")
        assert [result["per_class"][label][name] for label in "012"] == pytest.approx(expected.tolist())
    assert [result["per_class"][label]["support"] for label in "012"] == target.sum(0).tolist()
    flat = chances.flatten()
    both = torch.stack([1 - flat, flat], 1)
    expected = tm.multiclass_calibration_error(both, target.flatten(), 2, n_bins=15)
    assert result["ece"] == pytest.approx(expected.item(), abs=1e-4)
    assert chances_of(table, *(f"target({i})" for i in range(3))).tolist() == target.tolist()
    assert torch.allclose(chances_of(table, *(f"p({i})" for i in range(3))), chances, atol=1e-5)


def test_labels_untold_are_written_as_numbers(tmp_path: Path) -> None:
    y = np.ones((N, 3), dtype="float32")
    result, table, pictures = outcome_of(run_of(tmp_path, rng(N, 3), y, "BCEWithLogitsLoss", metrics=[]))
    assert "task" not in result and not pictures
    assert list(table[0]) == ["index", *(f"{what}_{i}" for what in ("target", "output") for i in range(3))]


def masks(classes: int) -> tuple[Any, Any]:
    """Images whose channels are the logits of `classes`, and masks where one in five pixels does not count."""
    x = rng(N, classes, 6, 5)
    generator = np.random.default_rng(1)
    y = (x + generator.normal(size=x.shape)).argmax(1)
    return x, np.where(generator.random(y.shape) < 0.2, 255, y).astype("int64")


SEGMENTATION: dict[str, Any] = {
    "loss": {"type": "CrossEntropyLoss", "args": {"ignore_index": 255}},
    "metrics": [{"type": "iou", "args": {"ignore_index": 255}}],
}


def test_masks_are_counted_by_pixels_and_listed_by_samples(tmp_path: Path) -> None:
    x, y = masks(3)
    result, table, pictures = outcome_of(run_of(tmp_path, x, y, **SEGMENTATION))
    output, target = torch.tensor(x), torch.tensor(y)
    options: dict[str, Any] = {"num_classes": 3, "ignore_index": 255}
    assert result["confusion"] == tm.multiclass_confusion_matrix(output, target, **options).tolist()
    expected = tm.multiclass_jaccard_index(output, target, average="none", **options)
    assert [scores["iou"] for scores in result["per_class"].values()] == pytest.approx(expected.tolist())
    expected = tm.multiclass_calibration_error(output.softmax(1), target, n_bins=15, **options)
    assert result["ece"] == pytest.approx(expected.item(), abs=1e-4)
    assert list(table[0]) == ["index", "positions", "accuracy", "iou"] and len(table) == N
    for row, one, mask in zip(table, output, target, strict=True):
        assert int(row["positions"]) == (mask != 255).sum()
        hits = (one.argmax(0) == mask)[mask != 255].float().mean()
        assert float(row["accuracy"]) == pytest.approx(hits.item(), abs=1e-5)
        index = tm.multiclass_jaccard_index(one[None], mask[None], average="macro", **options)
        assert float(row["iou"]) == pytest.approx(index.item(), abs=1e-5)
    assert pictures == {"confusion", "per_class", "calibration", "worst"}


def test_the_worst_masks_are_those_of_the_lowest_iou(tmp_path: Path) -> None:
    from base.evaluation.predictions import collect_predictions
    from base.evaluation.table import Table

    x, y = masks(3)
    run = run_of(tmp_path, x, y, **SEGMENTATION)
    file = io.StringIO()
    found = collect_predictions(run.trainer, run.trainer.data.test[""], "", 5, Table(file))
    rows = [float(row["iou"]) for row in csv.DictReader(file.getvalue().splitlines())]
    (worst,) = found.worst.values()
    assert [sample.index for sample in worst] == sorted(range(N), key=rows.__getitem__)[:5]
    true, predicted = worst[0].masks
    mask = torch.tensor(y[worst[0].index])
    assert torch.equal(true.long(), mask.where(mask != 255, -1))
    assert torch.equal(predicted.long(), torch.tensor(x[worst[0].index]).argmax(0))


def test_a_class_report_follows_the_task_too(tmp_path: Path) -> None:
    x, y = masks(3)
    trainer = {"epochs": 1, "save_dir": str(tmp_path / "saved"), "verbosity": 0}
    run = run_of(tmp_path, x, y, **SEGMENTATION, trainer=trainer, callbacks=["ClassReport"])
    shown = EventAccumulator(str(run.path)).Reload()
    assert set(shown.Tags()["images"]) == {f"{name}/val" for name in ("confusion", "per_class", "calibration", "worst")}
    assert {"ece/val", "f1/0", "f1/2"} <= set(shown.Tags()["scalars"])


def test_masks_of_one_logit(tmp_path: Path) -> None:
    x = rng(N, 1, 6, 5)
    y = (x > 0.4).astype("float32")
    result, table, pictures = outcome_of(run_of(tmp_path, x, y, "BCEWithLogitsLoss", metrics=[]))
    chances, target = torch.tensor(x).sigmoid(), torch.tensor(y).long()
    assert result["confusion"] == tm.binary_confusion_matrix(chances, target).tolist()
    assert float(table[3]["iou"]) == pytest.approx(tm.binary_jaccard_index(chances[3], target[3]).item(), abs=1e-5)
    assert "worst" in pictures


def test_classes_last(tmp_path: Path) -> None:
    """Outputs (B, 7, 3) with targets (B, 7): tokens."""
    x = rng(N, 3, 7)
    y = (x + np.random.default_rng(1).normal(size=x.shape)).argmax(1)
    y[:, 5:] = -100
    model, loss = {"classes_last": True}, {"type": "tokens_last"}
    result, table, _ = outcome_of(run_of(tmp_path, x, y, loss, model=model, metrics=["accuracy"]))
    expected = tm.multiclass_confusion_matrix(torch.tensor(x), torch.tensor(y), 3, ignore_index=-100)
    assert result["confusion"] == expected.tolist()
    assert {row["positions"] for row in table} == {"5"}


@LOSSES.register
def tokens_last(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output.transpose(1, 2), target)


def test_a_sample_that_does_not_count_has_no_target(tmp_path: Path) -> None:
    x = rng(N, 3)
    y = np.where(np.arange(N) % 4 == 1, -1, x.argmax(1))
    ignored = {"args": {"ignore_index": -1}}
    metrics = [{"type": "accuracy", **ignored}]
    result, table, _ = outcome_of(run_of(tmp_path, x, y, {"type": "CrossEntropyLoss", **ignored}, metrics=metrics))
    assert np.sum(result["confusion"]) == N - 11 == np.trace(result["confusion"])
    assert [row["target"] for row in table[:3]] == [str(y[0]), "", str(y[2])]


def test_a_later_batch_of_no_classes_ends_it_with_a_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    y = np.where(np.arange(N) < 20, 1.0, 7.5).astype("float32")[:, None]
    run = run_of(tmp_path, rng(N, 1), y, "MSELoss", metrics=[])
    evaluate(run.path)
    assert "the first batch was read as a classification, then 12 targets of no class" in caplog.text
    assert {path.name for path in (run.path / "test" / "test").iterdir()} == {"metrics.json"}


def test_many_classes_have_no_confusion_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    output, target = torch.randn(30, 7), torch.randint(0, 7, (30,))
    whole, short = ClassResults(TaskReader()), ClassResults(TaskReader())
    whole.add(output, target)
    monkeypatch.setattr(results, "MOST_CLASSES", 6)
    short.add(output, target)
    assert short.confusion is None and short.class_scores == whole.class_scores


def test_results_keep_counts_and_no_outputs() -> None:
    found = ClassResults(TaskReader())
    for _ in range(3):
        found.add(torch.randn(4, 5, 64, 64), torch.randint(0, 5, (4, 64, 64)))
    held = [value for value in vars(found).values() if isinstance(value, Tensor)]
    assert sum(value.numel() for value in held) < 100
    assert found.counts is not None and found.counts[2].sum() == 3 * 4 * 64 * 64


def test_values_of_classes_are_printed_with_their_names(garments: Path, tmp_path: Path, capsys: Any) -> None:
    from tests.small_run import small_config

    recall = {"type": "recall", "args": {"average": "none"}}
    run = fit(small_config(tmp_path, garments, metrics=[recall], trainer__epochs=1))
    capsys.readouterr()
    assert cli.test(["-r", str(run.path)]) == 0
    assert "  recall_3 (Dress)  " in capsys.readouterr().out


@pytest.mark.parametrize("task", ["binary", "multilabel"])
def test_a_prediction_gives_the_probabilities_of_the_table(tmp_path: Path, task: str) -> None:
    """`test.py --input` takes no softmax over labels, and gives one logit its two classes."""
    columns = 1 if task == "binary" else 3
    x = rng(N, columns)
    metrics = [{"type": "f1", "args": {"task": task}}]
    run = run_of(tmp_path, x, (x > 0.2).astype("float32"), "BCEWithLogitsLoss", metrics=metrics)
    _, table, _ = outcome_of(run)
    np.savez(tmp_path / "new.npz", input=x)
    found = torch.tensor([one.output for one in predict(run.path, tmp_path / "new.npz")])
    assert torch.allclose(found, chances_of(table, *(name for name in table[0] if name[:2] == "p(")), atol=1e-5)
