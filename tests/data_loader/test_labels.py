"""Labels that are texts become classes by themselves."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from base import evaluate, fit
from base.errors import DataError
from base.registry import DATASETS
from tests.data_loader.toy_sets import make
from tests.small_run import assert_same_run, small_config, stopped_and_resumed


@DATASETS.register
class ToyLabelled(Dataset[Any]):
    """One sample for each label, or `size` in turn."""

    def __init__(self, labels: list[Any], size: int | None = None, lists: bool = False) -> None:
        self.labels = [labels[index % len(labels)] for index in range(size or len(labels))]
        if lists:
            self.targets = self.labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return torch.full((1, 28, 28), float(index % 7)), self.labels[index]


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_texts_are_numbered_in_the_order_of_the_alphabet(
    lists: bool, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    args = {"labels": ["owl", "cat", "dog"], "size": 12, "lists": lists}
    other = {"type": "ToyLabelled", "args": {"labels": ["owl", "dog"]}}
    with caplog.at_level(logging.INFO):
        data = make("ToyLabelled", args, valid=other, loader={"shuffle": False, "num_workers": workers})
    assert next(data.train.batches())[1].tolist() == [2, 0, 1, 2, 0, 1, 2, 0]
    assert next(data.valid[""].batches())[1].tolist() == [2, 1]
    assert data.decisions["labels"] == data.decisions["classes"] == ["cat", "dog", "owl"]
    assert (data.facts["data.num_classes"], data.facts["data.class_counts"]) == (3, [4, 4, 4])
    told = "ToyLabelled (train): its labels are texts and become classes: 0 cat, 1 dog and 2 owl"
    assert [r.getMessage() for r in caplog.records if "labels" in r.getMessage()] == [told]


def test_a_label_that_the_training_data_has_not_is_told_with_its_sample() -> None:
    other = {"type": "ToyLabelled", "args": {"labels": ["cat", "emu"]}}
    data = make("ToyLabelled", {"labels": ["cat", "dog"]}, valid=other)
    what = r"ToyLabelled \(valid\): sample 1, labels: ValueError: the training data has no label 'emu'; it has cat "
    with pytest.raises(DataError, match=what + "and dog"):
        list(data.valid[""].batches())


def test_labels_of_which_only_some_are_texts_are_refused() -> None:
    with pytest.raises(DataError) as error:
        make("ToyLabelled", {"labels": ["cat", 3]})
    assert str(error.value) == (
        "ToyLabelled (train): expected a text as each label, as the first one is; found int for sample 1"
    )


def test_a_stratified_part_has_every_label() -> None:
    data = make("ToyLabelled", {"labels": ["owl", "cat"], "size": 20}, valid=10, stratify=True)
    assert torch.cat([y for _, y in data.valid[""].batches()]).bincount().tolist() == [5, 5]


def test_a_class_too_rare_for_a_stratified_split_is_told(caplog: pytest.LogCaptureFixture) -> None:
    labels = ["cat"] * 9 + ["dog"] * 10 + ["owl"]
    data = make("ToyLabelled", {"labels": labels, "lists": True}, valid=4, stratify=True)
    assert [r.getMessage() for r in caplog.records if r.levelname == "WARNING"] == [
        "data.stratify: too few samples to give valid any of class owl (1 sample)"
    ]
    assert data.about()["train"].class_counts[2] == 1


def test_a_run_keeps_its_numbers(tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "data__train": {"type": "ToyLabelled", "args": {"labels": list("qwertyuiop"), "size": 40}},
        "data__valid": 10,
        "data__test": {"type": "ToyLabelled", "args": {"labels": list("po"), "size": 4}},
        "data__transform": {},
        "data__loader__batch_size": 8,
    }
    whole = fit(small_config(tmp_path / "whole", tmp_path, **changes))
    resumed = stopped_and_resumed(small_config(tmp_path / "stopped", tmp_path, **changes), 5)
    assert_same_run(whole, resumed)
    evaluate(whole.path)
    rows = (whole.path / "test" / "test" / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[1] for row in rows[1:]] == [str(sorted("qwertyuiop").index(label)) for label in "popo"]
