"""A transform that moves an image's pixels is refused beside a mask or boxes that stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset

from base.errors import ConfigError
from base.registry import DATASETS
from tests.data_loader.toy_sets import components, make

FLIP = components("RandomHorizontalFlip")
CROP = components(("CenterCrop", {"size": 6}))


@DATASETS.register
class ToyMasked(Dataset[Any]):
    """Images of 8x6 with something of a `kind` on them."""

    def __init__(self, kind: str, train: bool = True) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        image = torch.zeros(3, 8, 6)
        boxes = torch.tensor([[0.0, 1.0, 4.0, 5.0]])
        return {
            "mask": (image, torch.zeros(8, 6, dtype=torch.int64)),
            "picture": (Image.new("RGB", (6, 8)), Image.new("L", (6, 8))),
            "boxes": (image, {"boxes": boxes, "labels": torch.ones(1)}),
            "dict": {"image": image, "mask": torch.zeros(1, 8, 6)},
            "small": (image, torch.zeros(3, 3)),
            "class": (image, index % 2),
        }[self.kind]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("mask", "a target of the same height and width beside an image of 8x6"),
        ("picture", "a target of the same height and width beside an image of 8x6"),
        ("dict", "a target of the same height and width beside an image of 8x6"),
        ("boxes", "boxes beside an image of 8x6"),
    ],
)
def test_a_flip_of_the_image_alone_is_refused(kind: str, found: str) -> None:
    keys = {"input": "image", "target": "mask"} if kind == "dict" else {}
    with pytest.raises(ConfigError) as error:
        make("ToyMasked", {"kind": kind}, transform=components("ToFloat") + FLIP, keys=keys)
    assert str(error.value.faults[0]) == (
        f"the config: data.transform.train.1: RandomHorizontalFlip moves the pixels of the input alone; found {found}; "
        "expected a target that does not lie on it; change both together in the dataset's __getitem__, and take "
        "RandomHorizontalFlip out of data.transform"
    )


def test_what_changes_every_image_alike_may_change_the_masks_too() -> None:
    with pytest.raises(ConfigError, match=r"data.transform.eval.0: CenterCrop moves the pixels of the input alone"):
        make("ToyMasked", {"kind": "mask"}, eval_transform=CROP, valid=0.2)
    data = make("ToyMasked", {"kind": "mask"}, transform=CROP, eval_transform=CROP, target_transform=CROP[0])
    assert [part.shape[-2:] for part in next(data.train.batches())] == [(6, 6), (6, 6)]
    with pytest.raises(ConfigError, match="RandomHorizontalFlip moves"):
        make("ToyMasked", {"kind": "mask"}, transform=FLIP, target_transform=FLIP[0])


@pytest.mark.parametrize("kind", ["small", "class"])
def test_other_targets_are_left_alone(kind: str) -> None:
    assert len(make("ToyMasked", {"kind": kind}, transform=FLIP).train) == 2
