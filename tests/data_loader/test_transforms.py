"""The framework's transforms against torchvision's: the same distributions, the same pixels for the same parameters."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data_loader.augmentation import (
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    RandomRotation,
    RandomVerticalFlip,
    _inverse_affine,
    _sample,
    _sampling_grid,
)
from data_loader.color import ColorJitter, RandomGrayscale
from data_loader.transforms import CenterCrop, Normalize, OneHot, Pipeline, Resize, ToFloat, Transform, as_tensor
from utils.seed import uniforms

ALL: list[Transform] = [
    ToFloat(),
    RandomHorizontalFlip(),
    RandomCrop(9),
    RandomCrop((12, 11), padding=(1, 2)),
    RandomCrop((12, 10), padding=(1, 2, 3, 4), padding_mode="reflect"),
    RandomCrop(12, padding=2, padding_mode="edge"),
    RandomCrop(10, padding=2, fill=(1, 2, 3)),
    RandomCrop((16, 30), pad_if_needed=True, padding_mode="symmetric", padding=3),
    RandomErasing(0.7),
    RandomErasing(0.7, value=(3, 2, 1)),
    RandomAffine(30, (0.2, 0.1), (0.7, 1.3), (5, 10, -5, 5), fill=7),
    RandomAffine((10, 20), interpolation="bilinear", fill=(1, 2, 3), center=(2, 3)),
    RandomRotation(60, fill=9),
    RandomVerticalFlip(0.7),
    ColorJitter(0.4, 0.4, 0.4, 0.2),
    RandomGrayscale(0.5),
    Resize((7, 5)),
    Resize(17, "bicubic"),
    Resize(8, "nearest"),
    CenterCrop((5, 14)),
]


def images(count: int, dtype: torch.dtype, height: int = 12, width: int = 10, channels: int = 3) -> Tensor:
    made = torch.randint(0, 256, (count, channels, height, width), generator=torch.Generator().manual_seed(0))
    return made.to(dtype) if dtype == torch.uint8 else made.to(dtype) / 255


def drawn(transform: Transform, count: int) -> Any:
    return uniforms(0, 0, np.arange(count), 0, transform.draws)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("transform", ALL, ids=lambda transform: type(transform).__name__)
def test_a_batch_is_bit_equal_to_its_samples_one_by_one(transform: Transform, dtype: torch.dtype) -> None:
    batch, numbers = images(33, dtype), drawn(transform, 33)
    together = transform(batch.clone(), numbers)
    assert together.dtype == (torch.float32 if isinstance(transform, ToFloat) else dtype)
    for i in range(33):
        assert torch.equal(transform(batch[i : i + 1].clone(), numbers[i : i + 1])[0], together[i])


def test_to_float_scales_integers_by_their_range() -> None:
    pixels = torch.tensor([[0, 51, 255]], dtype=torch.uint8)
    numbers = np.empty((1, 0))
    assert torch.equal(ToFloat()(pixels, numbers), pixels.float() / 255)
    assert ToFloat()(torch.tensor([32767], dtype=torch.int16), numbers).item() == 1
    assert ToFloat()(torch.tensor([0.3], dtype=torch.float64), numbers).dtype == torch.float32
    assert ToFloat()(torch.tensor([True]), numbers).tolist() == [1]


def test_normalize_is_torchvisions() -> None:
    from torchvision.transforms.v2 import functional

    batch, mean, std = images(4, torch.float32), [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = functional.normalize(batch, mean, std)
    assert torch.equal(Normalize(mean, std)(batch.clone(), np.empty((4, 0))), expected)
    table = torch.rand(5, 3)
    assert torch.allclose(Normalize([1.0], [2.0])(table.clone(), np.empty((5, 0))), (table - 1) / 2)


def test_one_hot_rows() -> None:
    rows = OneHot(4)(torch.tensor([2, 0]), np.empty((2, 0)))
    assert rows.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]] and rows.dtype == torch.float32
    with pytest.raises(RuntimeError, match="smaller than num_classes"):
        OneHot(4)(torch.tensor([4]), np.empty((1, 0)))


def test_flips_happen_at_the_rate_asked_for_and_mirror_the_columns() -> None:
    batch = images(4000, torch.uint8, 2, 3, 1)
    done = RandomHorizontalFlip(0.3)(batch, drawn(RandomHorizontalFlip(), 4000))
    flipped = (done == batch.flip(-1)).flatten(1).all(1)
    assert ((done == batch).flatten(1).all(1) | flipped).all()
    assert abs(flipped.float().mean() - 0.3) < 0.025
    never, always = (RandomHorizontalFlip(p)(batch, drawn(RandomHorizontalFlip(), 4000)) for p in (0.0, 1.0))
    assert torch.equal(never, batch) and torch.equal(always, batch.flip(-1))


def test_crop_offsets_are_uniform_over_all_places() -> None:
    ramp = torch.arange(7 * 8, dtype=torch.float32).view(1, 1, 7, 8).repeat(12000, 1, 1, 1)
    crops = RandomCrop((5, 6))(ramp, drawn(RandomCrop(1), 12000))
    corners = crops[:, 0, 0, 0].long()
    places, counts = corners.unique(return_counts=True)
    assert places.tolist() == [8 * row + column for row in range(3) for column in range(3)]
    assert ((counts - 12000 / 9).abs() < 150).all()  # four standard deviations
    for crop, corner in zip(crops[:50, 0], corners[:50], strict=True):
        row, column = divmod(int(corner), 8)
        assert torch.equal(crop, ramp[0, 0, row : row + 5, column : column + 6])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric"])
def test_padding_is_torchvisions(mode: Any, dtype: torch.dtype) -> None:
    from torchvision.transforms.v2 import functional

    batch = images(3, dtype)
    padded = functional.pad(batch, [1, 2, 3, 4], padding_mode=mode)
    whole = RandomCrop((12 + 6, 10 + 4), padding=(1, 2, 3, 4), padding_mode=mode)
    assert torch.equal(whole(batch, np.zeros((3, 2))), padded)


def test_a_smaller_image_is_padded_if_needed_as_by_torchvision() -> None:
    from torchvision.transforms import v2

    batch = images(1, torch.uint8, 5, 4)
    numbers = drawn(RandomCrop(1), 200)
    ours = {tuple(RandomCrop(8, pad_if_needed=True)(batch, row[None]).flatten().tolist()) for row in numbers}
    theirs = {tuple(v2.RandomCrop(8, pad_if_needed=True)(batch).flatten().tolist()) for _ in range(300)}
    assert ours == theirs and len(ours) == 20


def test_erased_rectangles_have_torchvisions_distribution() -> None:
    from torchvision.transforms import v2

    count, height, width = 3000, 20, 30
    ours = RandomErasing(0.6, (0.1, 0.4), (0.2, 5.0)).rectangles(height, width, drawn(RandomErasing(), count))
    theirs, image = [], torch.ones(1, height, width)
    erase = v2.RandomErasing(0.6, (0.1, 0.4), (0.2, 5.0))
    torch.manual_seed(0)
    for _ in range(count):
        rows, columns = torch.nonzero(erase(image)[0] == 0, as_tuple=True)
        if len(rows):
            top, left = int(rows.min()), int(columns.min())
            theirs.append((top, left, int(rows.max()) - top + 1, int(columns.max()) - left + 1))
    erased, expected = ours[ours[:, 2] > 0], np.array(theirs)
    assert abs(len(erased) - len(expected)) < 0.04 * count
    for column in range(4):
        assert abs(erased[:, column].mean() - expected[:, column].mean()) < 0.5
        assert abs(erased[:, column].std() - expected[:, column].std()) < 0.4
    areas, wanted = erased[:, 2] * erased[:, 3], expected[:, 2] * expected[:, 3]
    assert abs(areas.mean() / wanted.mean() - 1) < 0.05
    assert (erased[:, 0] + erased[:, 2] <= height).all() and (erased[:, 1] + erased[:, 3] <= width).all()


def test_erasing_fills_the_rectangle_and_nothing_else() -> None:
    transform = RandomErasing(1.0, value=(5, 6, 7))
    batch, numbers = images(20, torch.uint8), drawn(transform, 20)
    done = transform(batch.clone(), numbers)
    for before, after, (top, left, h, w) in zip(batch, done, transform.rectangles(12, 10, numbers), strict=True):
        before[:, top : top + h, left : left + w] = torch.tensor([5, 6, 7], dtype=torch.uint8)[:, None, None]
        assert h > 0 and torch.equal(after, before)


def test_a_rectangle_that_never_fits_erases_nothing() -> None:
    batch = images(10, torch.uint8)
    assert torch.equal(RandomErasing(1.0, (0.9, 1.0), (30.0, 40.0))(batch.clone(), drawn(RandomErasing(), 10)), batch)


def test_affine_parameters_have_torchvisions_distribution() -> None:
    from torchvision.transforms import v2

    arguments = {"degrees": (-10, 30), "translate": (0.2, 0.1), "scale": (0.8, 1.5), "shear": (-5, 5, 2, 8)}
    count, ours = 4000, RandomAffine(**arguments)
    parameters = ours.parameters(40, 30, drawn(ours, count))
    theirs, image, torchvisions = [], [torch.zeros(1, 40, 30)], v2.RandomAffine(**arguments)
    torch.manual_seed(0)
    for _ in range(count):
        made = torchvisions.make_params(image)
        theirs.append((made["angle"], *made["translate"], made["scale"], *made["shear"]))
    expected = np.array(theirs)
    spread = expected.std(axis=0)
    assert (np.abs(parameters.mean(axis=0) - expected.mean(axis=0)) < 0.08 * spread).all()
    assert (np.abs(parameters.std(axis=0) / spread - 1) < 0.05).all()
    assert (np.abs(parameters.min(axis=0) - expected.min(axis=0)) < 0.05 * spread + 1e-9).all()
    assert (np.abs(parameters.max(axis=0) - expected.max(axis=0)) < 0.05 * spread + 1e-9).all()
    for shift, limit in ((1, 6), (2, 4)):
        assert set(parameters[:, shift]) == set(expected[:, shift]) == set(range(-limit, limit + 1))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_rotation_turns_as_torchvisions(dtype: torch.dtype) -> None:
    from torchvision.transforms.v2 import functional

    turn, batch = RandomRotation((-80, 170), "bilinear", (3, 4)), images(20, dtype, 23, 17)
    numbers = drawn(turn, 20)
    angles = -80 + 250 * numbers[:, 0]
    for image, angle, before in zip(turn(batch.clone(), numbers), angles, batch, strict=True):
        theirs = functional.rotate(before, angle, functional.InterpolationMode.BILINEAR, center=[3, 4])
        assert torch.allclose(image.float(), theirs.float(), atol=1 if dtype == torch.uint8 else 1e-4)


def test_affine_without_arguments_but_an_angle_only_turns() -> None:
    transform = RandomAffine(15)
    parameters = transform.parameters(28, 28, drawn(transform, 100))
    assert np.abs(parameters[:, 0]).max() <= 15 and (parameters[:, 1:] == [0, 0, 1, 0, 0]).all()


@pytest.mark.parametrize("center", [None, (3.0, 8.5)])
@pytest.mark.parametrize(
    ("angle", "shift", "scale", "shear"),
    [(0, (0, 0), 1, (0, 0)), (0, (3, -2), 1, (0, 0)), (33, (1, 2), 0.8, (10, -7)), (-100, (0, 5), 1.7, (0, 20))],
)
def test_pixels_move_as_torchvision_moves_them(
    angle: float, shift: tuple[int, int], scale: float, shear: tuple[float, float], center: Any
) -> None:
    from torchvision.transforms.v2 import functional

    image = images(1, torch.float32, 23, 17)
    middle = (0.0, 0.0) if center is None else (center[0] - 17 / 2, center[1] - 23 / 2)
    matrix = _inverse_affine(np.array([[angle, *shift, scale, *shear]]), middle) / np.repeat((17 / 2, 23 / 2), 3)
    grid = _sampling_grid(torch.from_numpy(matrix).float(), 23, 17)
    options = {"center": list(center) if center else None}
    theirs = functional.affine(image, angle, list(shift), scale, list(shear), "nearest", [0.5], **options)
    moved = _sample(image, grid, "nearest", 0.5) != theirs
    assert moved.float().mean() < 0.01  # a pixel exactly between two others may go either way
    theirs = functional.affine(image, angle, list(shift), scale, list(shear), "bilinear", **options)
    assert torch.allclose(_sample(image, grid, "bilinear", 0), theirs, atol=1e-4)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: RandomHorizontalFlip(1.5), r"RandomHorizontalFlip: p must be in \[0, 1\], found 1.5"),
        (lambda: RandomCrop(0), "RandomCrop: size must be one or two positive numbers, found 0"),
        (lambda: RandomCrop(4, padding=(1, 2, 3)), "RandomCrop: padding must be 1, 2 or 4 numbers from 0 up"),
        (lambda: RandomErasing(scale=(0.5, 0.2)), r"RandomErasing: scale must be \(low, high\) in \[0, 1\]"),
        (lambda: RandomErasing(ratio=(0, 1)), r"RandomErasing: ratio must be \(low, high\) above 0"),
        (lambda: RandomErasing(p=-1), r"RandomErasing: p must be in \[0, 1\], found -1"),
        (lambda: RandomAffine(-3), "RandomAffine: degrees: a single number must not be negative, found -3"),
        (lambda: RandomAffine((1, 2, 3)), r"RandomAffine: degrees: expected a number or \(low, high\)"),
        (lambda: RandomAffine(0, translate=(0, 2)), r"RandomAffine: translate must be two numbers in \[0, 1\]"),
        (lambda: RandomAffine(0, scale=(0, 1)), "RandomAffine: scale must be two numbers above 0"),
        (lambda: RandomAffine(0, interpolation="cubic"), "RandomAffine: interpolation must be nearest or bilinear"),
        (lambda: Normalize([0.5], [0]), "Normalize: std must not be 0"),
        (lambda: Normalize([0.5, 0.5], [1]), "Normalize: expected as many mean as std, found 2 and 1"),
        (lambda: RandomRotation(-3), "RandomRotation: degrees: a single number must not be negative, found -3"),
        (lambda: ColorJitter(-1), r"ColorJitter: brightness must be a number from 0 up or \(low, high\) from 0 up, f"),
        (
            lambda: ColorJitter(hue=0.6),
            r"hue must be a number from 0 up or \(low, high\) within \[-0.5, 0.5\], found 0.6",
        ),
        (lambda: ColorJitter(contrast=(1, 0.5)), "ColorJitter: contrast must be"),
        (lambda: RandomGrayscale(2), r"RandomGrayscale: p must be in \[0, 1\], found 2"),
        (lambda: Resize((1, 2, 3)), r"Resize: size must be one or two positive numbers, found \(1, 2, 3\)"),
        (lambda: Resize(8, max_size=8), "Resize: max_size must be more than size, a single number, found 8 and 8"),
        (lambda: Resize(8, "cubic"), "Resize: interpolation must be nearest, nearest-exact, bilinear or bicubic"),
        (lambda: CenterCrop(0), "CenterCrop: size must be one or two positive numbers, found 0"),
        (lambda: OneHot(0), "OneHot: num_classes must be 1 or more, found 0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(make: Any, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        make()


@pytest.mark.parametrize(
    ("transform", "what"),
    [
        (RandomCrop(11), r"RandomCrop: a window of 11x11 does not fit into 12x10 \(padded\); raise padding"),
        (Normalize([0.5], [0.5]), "Normalize: expected floating point, found torch.uint8; put ToFloat before it"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused(transform: Transform, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        transform(images(2, torch.uint8), drawn(transform, 2))


def test_means_of_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="Normalize: expected one mean or 1, one per channel, found 3"):
        Normalize([0.1, 0.2, 0.3], [1, 1, 1])(images(2, torch.float32, channels=1), np.empty((2, 0)))


def test_each_transform_of_a_list_has_randomness_of_its_own() -> None:
    batch = images(200, torch.uint8)
    twice = Pipeline([RandomHorizontalFlip(), RandomHorizontalFlip()], 0).on_batch(batch, 0, 0)
    flipped = (twice != batch).flatten(1).any(1)
    assert 60 < flipped.sum() < 140  # of 200; none if both drew the same
    once = Pipeline([RandomHorizontalFlip()], 0).on_batch(batch, 0, 0)
    for seed, pass_, first in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert not torch.equal(Pipeline([RandomHorizontalFlip()], seed).on_batch(batch, pass_, first), once)


def test_numbers_follow_the_position_alone_whatever_was_asked_for_before() -> None:
    batch = images(64, torch.uint8)
    used = Pipeline([RandomHorizontalFlip(), RandomCrop(9)], 0)
    for pass_, first in ((0, 0), (0, 1000), (0, 990), (0, 5000), (1, 5000), (1, 4999), (0, 1024)):
        anew = Pipeline([RandomHorizontalFlip(), RandomCrop(9)], 0).on_batch(batch, pass_, first)
        assert torch.equal(used.on_batch(batch, pass_, first), anew)


def test_a_foreign_transform_used_twice_draws_twice() -> None:
    def add_random(value: Tensor) -> Tensor:
        return value + torch.rand(())

    zero = [torch.zeros(1)]
    once = Pipeline([add_random], 0).on_samples(zero, 0, 0)[0]
    apart = Pipeline([add_random, ToFloat(), add_random], 0).on_samples(zero, 0, 0)[0]
    together = Pipeline([add_random, add_random], 0).on_samples(zero, 0, 0)[0]
    assert once != apart != 2 * once and once != together != 2 * once


def test_samples_of_different_shapes_and_kinds_go_one_by_one() -> None:
    from PIL import Image

    pictures = [Image.new("L", (10, 12), 100), Image.new("RGB", (11, 12), (1, 2, 3)), images(1, torch.uint8)[0]]
    done = Pipeline([RandomCrop(8), ToFloat()], 0).on_samples(pictures, 0, 0)
    assert [tuple(image.shape) for image in done] == [(1, 8, 8), (3, 8, 8), (3, 8, 8)]
    assert math.isclose(done[0].mean(), 100 / 255, rel_tol=1e-6)
    assert as_tensor(pictures[1])[:, 0, 0].tolist() == [1, 2, 3] and as_tensor(3).dtype == torch.int64
