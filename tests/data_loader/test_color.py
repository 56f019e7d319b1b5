"""Colours and sizes against torchvision's functions with the same parameters, and its distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from data_loader.color import ColorJitter, RandomGrayscale, _sum
from data_loader.transforms import CenterCrop, Resize
from tests.data_loader.test_transforms import drawn, images

NAMES = ("brightness", "contrast", "saturation", "hue")
TOLERANCE = {torch.uint8: 1, torch.float32: 2e-5}
"""A level may be cut off one lower or higher: the order of a sum and the formula of a hue are others."""


def close(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    assert ours.dtype == theirs.dtype
    difference = (ours.double() - theirs.double()).abs()
    return bool(difference.max() <= TOLERANCE[ours.dtype]) and bool((difference > 1e-3).double().mean() < 0.02)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", NAMES)
def test_one_change_alone_is_torchvisions(name: str, dtype: torch.dtype, channels: int) -> None:
    from torchvision.transforms.v2 import functional

    jitter, batch = ColorJitter(**{name: 0.45}), images(40, dtype, channels=channels)
    batch[0] = batch[0, :1]  # gray, where hue and saturation have nothing to divide by
    numbers = drawn(jitter, 40)
    factors = jitter.factors(numbers)[:, NAMES.index(name)]
    adjust = getattr(functional, f"adjust_{name}")
    theirs = torch.stack([adjust(image, factor) for image, factor in zip(batch, factors.tolist(), strict=True)])
    assert close(jitter(batch.clone(), numbers), theirs)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_all_changes_in_the_order_of_each_image_are_torchvisions(dtype: torch.dtype) -> None:
    from torchvision.transforms.v2 import functional

    jitter, batch = ColorJitter(0.4, (0.5, 1.2), 0.3, (-0.1, 0.4)), images(40, dtype)
    numbers = drawn(jitter, 40)
    theirs = []
    for image, factors, order in zip(batch, jitter.factors(numbers), jitter.orders(numbers), strict=True):
        for change in order.tolist():
            image = getattr(functional, f"adjust_{NAMES[change]}")(image, float(factors[change]))
        theirs.append(image)
    ours = jitter(batch.clone(), numbers)
    difference = (ours.double() - torch.stack(theirs).double()).abs()
    assert difference.max() <= (12 if dtype == torch.uint8 else 1e-3)  # a level more or less, seen through hue
    assert difference.mean() < (0.1 if dtype == torch.uint8 else 1e-5)


def test_factors_and_orders_have_torchvisions_distribution() -> None:
    from torchvision.transforms import v2

    arguments = {"brightness": 0.3, "contrast": 1.5, "saturation": (0.2, 0.4), "hue": 0.2}
    ours, theirs, count = ColorJitter(**arguments), v2.ColorJitter(**arguments), 4000
    numbers = drawn(ours, count)
    torch.manual_seed(0)
    made = [theirs.make_params([]) for _ in range(count)]
    expected = np.array([[float(one[f"{name}_factor"]) for name in NAMES] for one in made])
    factors = ours.factors(numbers)
    assert np.abs(factors.mean(0) - expected.mean(0)).max() < 0.03
    assert np.abs(factors.min(0) - expected.min(0)).max() < 0.01 > np.abs(factors.max(0) - expected.max(0)).max()
    orders, counts = np.unique(ours.orders(numbers), axis=0, return_counts=True)
    assert len(orders) == 24 and abs(counts - count / 24).max() < 55  # four standard deviations


def test_what_changes_nothing_leaves_the_bits() -> None:
    batch = images(5, torch.uint8)
    assert torch.equal(ColorJitter()(batch.clone(), drawn(ColorJitter(), 5)), batch)
    assert ColorJitter(brightness=(1, 1), hue=0).active == []
    gray = images(5, torch.float32, channels=1) * 3 - 1
    assert torch.equal(ColorJitter(saturation=0.5, hue=0.5)(gray.clone(), drawn(ColorJitter(), 5)), gray)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_gray_images_are_torchvisions_at_the_rate_asked_for(dtype: torch.dtype) -> None:
    from torchvision.transforms.v2 import functional

    batch = images(1000, dtype, 3, 4)
    done = RandomGrayscale(0.3)(batch.clone(), drawn(RandomGrayscale(), 1000))
    gray = (done != batch).flatten(1).any(1)
    assert 0.26 < gray.float().mean() < 0.34
    assert close(done[gray], functional.rgb_to_grayscale(batch[gray], num_output_channels=3))
    one = images(9, dtype, channels=1)
    assert torch.equal(RandomGrayscale(1.0)(one.clone(), drawn(RandomGrayscale(), 9)), one)


@pytest.mark.parametrize("change", [ColorJitter(0.1), RandomGrayscale()], ids=lambda change: type(change).__name__)
def test_other_numbers_of_channels_are_refused(change: Any) -> None:
    with pytest.raises(ValueError, match=f"{type(change).__name__}: expected images of 1 or 3 channels, found 4"):
        change(images(2, torch.uint8, channels=4), drawn(change, 2))


def test_a_sum_depends_neither_on_its_neighbours_nor_on_threads() -> None:
    rows = torch.rand(7, 50_177, generator=torch.Generator().manual_seed(0))
    expected, threads = _sum(rows), torch.get_num_threads()
    assert torch.allclose(expected, rows.sum(1)) and _sum(rows[:, :1]).tolist() == rows[:, 0].tolist()
    torch.set_num_threads(2)
    try:
        assert torch.equal(_sum(rows), expected)
        assert torch.equal(torch.cat([_sum(row[None]) for row in rows]), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 7},
        {"size": (9, 20)},
        {"size": 30, "max_size": 33},
        {"size": 6, "antialias": False},
        {"size": 7, "interpolation": "bicubic"},
        {"size": (20, 30), "interpolation": "nearest"},
        {"size": 5, "interpolation": "nearest-exact"},
        {"size": 10},
    ],
)
def test_sizes_and_pixels_are_torchvisions(arguments: dict[str, Any], dtype: torch.dtype) -> None:
    from torchvision.transforms import v2

    for height, width in ((12, 10), (10, 17)):
        batch = images(3, dtype, height, width)
        ours = Resize(**arguments)(batch, np.empty((3, 0)))
        theirs = v2.Resize(**{"antialias": True, **arguments, "interpolation": _mode(arguments)})(batch)
        assert ours.shape == theirs.shape
        assert (ours.double() - theirs.double()).abs().max() <= (1 if dtype == torch.uint8 else 1e-6)


def _mode(arguments: dict[str, Any]) -> Any:
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(arguments.get("interpolation", "bilinear"))


@pytest.mark.parametrize("size", [5, (7, 6), (13, 4), 20, (12, 13)])
def test_the_middle_is_torchvisions(size: Any) -> None:
    from torchvision.transforms import v2

    for height, width in ((12, 10), (9, 11)):
        batch = images(2, torch.uint8, height, width)
        assert torch.equal(CenterCrop(size)(batch, np.empty((2, 0))), v2.CenterCrop(size)(batch))


def test_integers_that_the_cpu_cannot_resample_go_by_floats() -> None:
    batch = images(2, torch.uint8).to(torch.int32)
    ours = Resize(7)(batch, np.empty((2, 0)))
    assert ours.dtype == torch.int32 and (ours - Resize(7)(batch.to(torch.uint8), np.empty((2, 0)))).abs().max() <= 1
