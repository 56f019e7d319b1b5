"""Runs that earlier versions left in the middle of an epoch go on with the numbers that those versions gave (to a
tolerance: another processor rounds differently)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import Dataset

from base import CALLBACKS, DATASETS, MODELS, BaseTrainer, Callback, fit
from base.checkpoint.changed_counts import look_at_counts
from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError
from tests.small_run import rows

RUNS = Path(__file__).parent / "old_runs"


@DATASETS.register
class OldRunPoints(Dataset[tuple[Tensor, int]]):
    """32 samples (6,) of 3 classes."""

    def __init__(self, train: bool = True) -> None:
        generator = torch.Generator().manual_seed(1 if train else 2)
        self.inputs = torch.randn(32, 6, generator=generator)
        self.targets = (self.inputs[:, :3] + self.inputs[:, 3:]).argmax(1)
        self.classes = ["a", "b", "c"]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], int(self.targets[index])


@MODELS.register
class OldRunNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Any:
        return self.layers(x)


@CALLBACKS.register
class StopAtStep(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: BaseTrainer, terms: Any) -> None:
        if trainer.progress.step == self.step:
            trainer.stop("asked")


@pytest.mark.parametrize("name", sorted(path.name for path in RUNS.iterdir()))
def test_a_run_of_an_earlier_version_goes_on_with_its_numbers(name: str, tmp_path: Path) -> None:
    shutil.copytree(RUNS / name / "run", tmp_path / "run")
    expected = json.loads((RUNS / name / "expected.json").read_text())
    run = fit(resume=tmp_path / "run")
    assert run.reason == "finished"
    found = [row for row in rows(run)[1:-1] if "end" not in row]
    for row, then in zip(found, expected["rows"], strict=True):
        for key in then.keys() - {"phase", "lr"}:  # that version logged the learning rate of the step after
            assert row[key] == pytest.approx(then[key], rel=1e-4, abs=1e-6), key
    store = CheckpointStore(tmp_path / "run" / "checkpoints")
    weights = load_file(store.folder / store.names()[-1] / "model.safetensors")
    for key, values in expected["weights"].items():
        assert weights[key].flatten().tolist() == pytest.approx(values, rel=1e-4, abs=1e-6), key


def rewritten(name: str, folder: Path, edit: Any) -> Path:
    shutil.copytree(RUNS / name / "run", folder)
    for file in ("config.yaml", "asked.yaml"):
        values = yaml.safe_load((folder / file).read_text())
        (folder / file).write_text(yaml.safe_dump(edit(values)))
    return folder


FIRST = [path.name for path in RUNS.iterdir() if path.name.startswith("format_1")]
WEIGHTED = {"loss": {"type": "CrossEntropyLoss", "args": {"weight": [1.0, 2.0, 1.0]}}}
IGNORING = {"loss": {"type": "CrossEntropyLoss", "args": {"ignore_index": 2}}}
BY_COUNT = "the losses (now means over what counts in them, not over samples)"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (WEIGHTED, f"counted differently: {BY_COUNT};"),
        (IGNORING, "CrossEntropyLoss (now without the targets that it ignores);"),
    ],
)
@pytest.mark.parametrize("name", FIRST)
def test_what_was_counted_differently_goes_on_from_the_end_of_an_epoch(
    name: str, changes: dict[str, Any], text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = rewritten(name, tmp_path / "run", lambda values: values | changes)
    with pytest.raises(CheckpointError) as caught:
        fit(resume=run)
    end = run / "checkpoints" / "000001-step-00000004"
    assert text in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).endswith(f"the sums of an unfinished epoch cannot be continued: resume from {end}")
    assert fit(resume=end, overrides={"callbacks": []}).reason == "finished"
    assert len([line for line in caplog.messages if "from here on the new rules apply" in line]) == 1


@pytest.mark.parametrize("name", FIRST)
def test_an_average_of_the_weights_does_not_go_on_within_an_epoch(name: str, tmp_path: Path) -> None:
    def averaged(values: dict[str, Any]) -> dict[str, Any]:
        return values | {"trainer": values["trainer"] | {"ema": {"decay": 0.9}}}

    run = rewritten(name, tmp_path / "run", averaged)
    with pytest.raises(CheckpointError, match=r"counted differently: the average of trainer\.ema; the sums of an unf"):
        fit(resume=run)


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss(), nn.NLLLoss(), nn.LinearCrossEntropyLoss(4, 3)])
def test_targets_of_several_positions_may_be_ignored_in_other_batches(loss: nn.Module, tmp_path: Path) -> None:
    """Here as many are kept as there are samples."""
    target = torch.tensor([[1, -100], [2, -100]])
    batch = torch.zeros(2, 3, 2), target
    trainer = SimpleNamespace(
        states=SimpleNamespace(objects={"losses.loss": loss}),
        parts=SimpleNamespace(averages={}),
        data=SimpleNamespace(train=SimpleNamespace(batches=lambda: iter([batch]))),
        count=lambda batch: 2,
        unpack=lambda batch: batch,
    )
    saved: Any = SimpleNamespace(path=tmp_path / "000003-step-00000007", name="x", info={"phase": "train", "step": 7})
    with pytest.raises(CheckpointError, match=r"the losses \(now means over .*: start anew, with init_from"):
        look_at_counts(trainer, saved)  # type: ignore[arg-type]
    trainer.states.objects = {"losses.loss": nn.MSELoss()}
    look_at_counts(trainer, saved)  # type: ignore[arg-type]
