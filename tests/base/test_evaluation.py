"""What test.py leaves of a classification: numbers that agree with each other, pictures, and TensorBoard's share."""

from __future__ import annotations

import csv
import io
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from base import LOSSES, TRAINERS, cli, evaluate, fit
from base.evaluation.predictions import Predictions, collect_predictions
from base.evaluation.table import Table, add_numbers
from base.evaluation.worst import UNLIKELY
from base.run import Run
from logger.run_log import outcome_of_test
from tests.logger.test_hparams import metrics, rows
from tests.small_run import small_config
from trainer import Trainer
from utils.classification import calibration, expected_calibration_error

PICTURES = {"confusion", "per_class", "calibration", "worst"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, garments: Path) -> Run:
    folder = tmp_path_factory.mktemp("tested")
    config = small_config(folder, garments, trainer__tensorboard=True, trainer__epochs=2, optimizer__args__lr=0.03)
    return fit(config)


def untouched(run: Path) -> dict[str, bytes]:
    files = [run / "metrics.jsonl", *run.glob("events.out.tfevents.*.run"), *run.glob("*.about")]
    return {path.name: path.read_bytes() for path in files}


def test_numbers_and_pictures(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = untouched(run.path)
    assert cli.test(["-r", str(run.path)]) == 0
    printed = capsys.readouterr().out
    folder = run.path / "test" / "test"
    result: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    table = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))

    confusion = torch.zeros(10, 10, dtype=torch.int64)
    for row in table:
        confusion[int(row["target"]), int(row["prediction"])] += 1
    assert result["confusion"] == confusion.tolist()
    assert result["classes"][3] == "Dress"
    assert result["accuracy"] == pytest.approx(confusion.trace().item() / 96)
    dress = result["per_class"]["Dress"]
    assert dress["support"] == confusion[3].sum()
    assert dress["recall"] == pytest.approx(confusion[3, 3].item() / dress["support"])

    chances = torch.tensor([[float(row[f"p({name})"]) for name in result["classes"]] for row in table])
    assert torch.allclose(chances.sum(1), torch.ones(96), atol=1e-5)
    assert [row["prediction"] for row in table] == [str(i) for i in chances.argmax(1).tolist()]
    targets = torch.tensor([int(row["target"]) for row in table])
    assert result["ece"] == pytest.approx(expected_calibration_error(calibration(chances, targets)), abs=1e-4)
    assert sum(part["count"] for part in result["calibration"]) == 96

    assert {path.stem for path in folder.glob("*.png")} == PICTURES
    for path in folder.glob("*.png"):
        with Image.open(path) as image:
            assert len(image.convert("L").getcolors(256) or []) > 10, path.name
    assert f"  Dress        {dress['precision']:9.4f}" in printed
    assert untouched(run.path) == before


def test_tensorboard_and_hparams_show_the_result(run: Run) -> None:
    scores = evaluate(run.path)
    shown = EventAccumulator(str(run.path)).Reload()
    assert set(shown.Tags()["images"]) == {f"{name}/test" for name in PICTURES}
    for name in PICTURES:
        (image,) = shown.Images(f"{name}/test")
        with Image.open(BytesIO(image.encoded_image_string)) as picture:
            assert (picture.width, picture.height) == (image.width, image.height)
    (row,) = rows(run.path.parent.parent).values()
    assert metrics(row)["accuracy/test"] == pytest.approx(scores["accuracy"])
    assert metrics(row).keys() >= {"ece/test", "loss/test", "accuracy/val"}


def test_a_later_test_takes_the_place_of_an_earlier(run: Run) -> None:
    evaluate(run.path, "valid")
    first, *_ = sorted((run.path / "checkpoints").glob("*-step-*"))
    evaluate(first, "valid", pictures=False)
    assert not list((run.path / "test/valid").glob("*.png"))
    events = EventAccumulator(str(run.path)).Reload()
    assert [event.step for event in events.Scalars("accuracy/test_valid")] == [0]


def collected(run: Run, data: str = "", samples: int = 0) -> tuple[Predictions, list[dict[str, str]]]:
    """And the rows of the table."""
    file = io.StringIO()
    loader = run.trainer.data.test[data]
    found = collect_predictions(run.trainer, loader, "", samples, Table(file))
    return found, list(csv.DictReader(file.getvalue().splitlines()))


def test_the_worst_samples_are_those_of_the_table(run: Run) -> None:
    found, table = collected(run, samples=5)
    chances = torch.tensor([[float(row[f"p({name})"]) for name in found.classes] for row in table])
    targets = torch.tensor([int(row["target"]) for row in table])
    wrong = (chances.argmax(1) != targets).nonzero()[:, 0].tolist()
    assert len(wrong) > 5, "the network is too good for this test"
    own = chances.gather(1, targets[:, None])[:, 0]
    unlikely, sure = found.worst.values()
    assert [s.index for s in unlikely] == sorted(wrong, key=lambda i: own[i].item())[:5]
    assert [s.index for s in sure] == sorted(wrong, key=lambda i: -chances[i].max().item())[:5]
    images: Tensor = torch.cat([batch[0] for batch in run.trainer.data.test[""].batches()])
    assert all(torch.equal(s.input, images[s.index]) for s in unlikely)
    assert sure[0].caption == f"{found.classes[sure[0].target]}\n{found.classes[sure[0].prediction]} " + (
        f"{sure[0].probability:.2f}"
    )


def test_names_stand_beside_the_numbers_of_classes(run: Run) -> None:
    found, table = collected(run)
    assert all(row["target_name"] == found.classes[int(row["target"])] for row in table)
    assert all(row["prediction_name"] == found.classes[int(row["prediction"])] for row in table)


@TRAINERS.register
class ReadsMetrics(Trainer):
    """Looks at which metrics there are."""

    def update_metrics(self, output: Any, target: Any, batch: Any) -> None:
        self.seen = list(self.metrics)
        super().update_metrics(output, target, batch)


@pytest.mark.parametrize("metrics", [[], ["accuracy"]])
def test_outputs_are_collected_beside_the_metrics(garments: Path, tmp_path: Path, metrics: list[str]) -> None:
    given = [{"type": name} for name in metrics]
    run = fit(small_config(tmp_path, garments, trainer__type="ReadsMetrics", trainer__epochs=1, metrics=given))
    found, table = collected(run)
    assert found.results is not None and len(table) == 96
    assert vars(run.trainer)["seen"] == metrics
    assert found.scores == run.trainer.evaluate(run.trainer.data.test[""], "")


@LOSSES.register
def any_integers(output: Tensor, target: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(output, target.long())


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16"])
def test_class_numbers_of_any_width_are_those_of_a_classification(dtype: str, tmp_path: Path) -> None:
    """As .npz files have them. A network that knows its 17 classes, and one sample that it cannot know."""
    labels = np.arange(17).repeat(4).astype(dtype)
    labels[-1] = 7
    np.savez(tmp_path / "a.npz", x=np.eye(17, dtype=np.float32).repeat(4, 0), y=labels)
    data = {"type": "Arrays", "args": {"path": str(tmp_path / "a.npz")}}
    changes: dict[str, Any] = {f"data__{part}": data for part in ("train", "valid", "test")}
    changes |= {"model": {"type": "MLP", "args": {"input_shape": [17], "hidden": [], "num_classes": 17}}}
    changes |= {"loss": {"type": "any_integers"}, "optimizer__args__lr": 20.0, "data__transform": {}}
    run = fit(small_config(tmp_path, tmp_path, **changes, trainer__epochs=8))
    assert evaluate(run.path, pictures=False)["accuracy"] == 67 / 68
    result = json.loads((run.path / "test" / "test" / "metrics.json").read_text())
    assert [row[i] for i, row in enumerate(result["confusion"])] == [4] * 16 + [3]
    (wrong,) = collected(run, samples=5)[0].worst[UNLIKELY]
    assert (wrong.index, wrong.target, wrong.prediction) == (67, 7, 16)


@pytest.mark.parametrize(
    ("output", "target", "lines"),
    [
        ([[0.5], [1.5]], [[1.0], [2.0]], ["index,target,output", "0,1.0,0.5", "1,2.0,1.5"]),
        ([[0.5, 0.25]], [3.0], ["index,target,output_0,output_1", "0,3.0,0.5,0.25"]),
    ],
)
def test_a_regression_has_a_table_of_numbers(output: Any, target: Any, lines: list[str]) -> None:
    file = io.StringIO()
    add_numbers(Table(file), torch.tensor(output), torch.tensor(target))
    assert file.getvalue().splitlines() == lines


def test_the_file_of_a_test_is_last_unless_the_run_goes_on(tmp_path: Path) -> None:
    run_file = tmp_path / "events.out.tfevents.1700000000.run"
    run_file.touch()
    for running, place in ((False, 1), (True, 0), (False, 1)):
        outcome_of_test(tmp_path, "test", 1, {"loss": 0.5}, {}, running)
        names = sorted(path.name for path in tmp_path.iterdir())
        assert len(names) == 2
        assert names.index(run_file.name) == 1 - place
