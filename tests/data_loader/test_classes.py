"""Classes are compared by name: a number means the same in every set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from base.errors import ConfigError
from base.registry import DATASETS
from tests.data_loader.toy_sets import components, make

NAMES = ["cat", "dog", "owl"]
STEPS = components("ToImage", "ToFloat")


def write_folder(root: Path, *classes: str, each: int = 2) -> Path:
    """The brightness of an image tells its class."""
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            Image.new("L", (4, 4), 50 * NAMES.index(name) if name in NAMES else 255).save(root / name / f"{number}.png")
    return root


def folders(train: Path, valid: Path, **changes: Any) -> Any:
    options: dict[str, Any] = {"transform": STEPS, "eval_transform": STEPS, "loader": {"batch_size": 4}}
    section = {"type": "ImageFolder", "args": {"root": str(valid)}}
    return make("ImageFolder", {"root": str(train)}, valid=section, test=None, **options, **changes)


def test_a_validation_folder_with_fewer_classes_has_the_numbers_of_the_training_folder(tmp_path: Path) -> None:
    train, valid = write_folder(tmp_path / "train", *NAMES), write_folder(tmp_path / "valid", "cat", "owl")
    data = folders(train, valid)
    batches = list(data.valid[""].batches())
    assert torch.cat([y for _, y in batches]).tolist() == [0, 0, 2, 2]
    brightness = torch.cat([x for x, _ in batches])[:, 0, 0, 0] * 255
    assert brightness.round().tolist() == [0, 0, 100, 100]
    dataset = data.opened["valid"].dataset
    assert (dataset.classes, dataset.class_to_idx["owl"], dataset.targets) == (NAMES, 2, [0, 0, 2, 2])
    assert data.about()["valid"].class_counts == (2, 0, 2)


def test_a_class_that_the_training_folder_lacks_is_a_fault(tmp_path: Path) -> None:
    train, valid = write_folder(tmp_path / "train", "cat", "dog"), write_folder(tmp_path / "valid", *NAMES)
    with pytest.raises(ConfigError) as error:
        folders(train, valid)
    (fault,) = error.value.faults
    assert str(fault) == (
        "the config: data.valid: the training data has no class owl; found cat, dog and owl in ImageFolder (valid); "
        "cat and dog in ImageFolder (train); expected classes of the training data alone; remove these samples, or add "
        "some to the training data"
    )


def test_what_is_hidden_is_no_class_and_no_image(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", "cat", "dog")
    write_folder(train, ".ipynb_checkpoints")
    write_folder(train / "cat", ".ipynb_checkpoints")
    (train / "dog" / "._0.png").write_bytes(b"a resource fork")
    data = folders(train, train)
    dataset = data.opened["train"].dataset
    assert (dataset.classes, dataset.targets) == (["cat", "dog"], [0, 0, 1, 1])
    assert sum(len(y) for _, y in data.train.batches()) == 4


def test_an_empty_class_folder_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train = write_folder(tmp_path / "train", "cat", "owl")
    (train / "dog").mkdir()
    data = folders(train, write_folder(tmp_path / "valid", *NAMES))
    assert data.facts["data.num_classes"] == 3
    told = "ImageFolder (train): no sample of dog: the model has outputs for what it cannot learn"
    assert [record.getMessage() for record in caplog.records] == [told]


def test_an_image_that_cannot_be_read_is_told_with_its_path(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", "cat", "dog")
    (train / "dog" / "9.png").write_bytes(b"no picture")
    from base.errors import DataError

    with pytest.raises(DataError, match=rf"sample 4, file {train}/dog/9.png: UnidentifiedImageError: cannot identify"):
        list(folders(train, train).train.batches())


@DATASETS.register
class ToyNames(Dataset[Any]):
    """Class names in any order, and numbers that follow from it."""

    def __init__(self, classes: Sequence[str], gives: str = "") -> None:
        self.classes, self.gives = list(classes), gives
        if gives:
            self.number_classes = lambda names: setattr(self, "classes", list(names))

    def __len__(self) -> int:
        return len(self.classes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.zeros(1, 2, 2), index


def test_a_dataset_that_cannot_number_its_classes_anew_is_a_fault() -> None:
    valid = {"type": "ToyNames", "args": {"classes": ["dog", "cat"]}}
    with pytest.raises(ConfigError) as error:
        make("ToyNames", {"classes": ["cat", "dog", "owl"]}, valid={"night": valid}, test=valid)
    assert [fault.key for fault in error.value.faults] == ["data.test", "data.valid.night"]
    assert str(error.value.faults[1]) == (
        "the config: data.valid.night: class numbers mean other classes than in the training data; found dog and cat "
        "in ToyNames (valid_night); cat, dog and owl in ToyNames (train); expected the same classes in the same order; "
        "give ToyNames a method number_classes(names) that numbers its targets in that order"
    )
    valid["args"]["gives"] = "a method"  # type: ignore[index]
    assert make("ToyNames", {"classes": NAMES}, valid=valid).opened["valid"].dataset.classes == NAMES


def test_a_table_takes_the_classes_of_the_training_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,kind\n1,cat\n2,dog\n3,owl\n")
    (tmp_path / "b.csv").write_text("x,kind\n5,owl\n6,cat\n")
    args = {"target": "kind", "classification": True}
    valid = {"type": "Table", "args": {"path": str(tmp_path / "b.csv"), **args}}
    data = make("Table", {"path": str(tmp_path / "a.csv"), **args}, valid=valid, test=None)
    assert next(data.valid[""].batches())[1].tolist() == [2, 0]
    assert data.opened["valid"].dataset.classes == ("cat", "dog", "owl")
