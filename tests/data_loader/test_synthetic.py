"""SyntheticFashion: the same bits everywhere, a balanced and honest set, a cache that can be trusted."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from data_loader.synthetic import fashion
from data_loader.synthetic.fashion import SyntheticFashion


def same(a: SyntheticFashion, b: SyntheticFashion) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.as_tensors(), b.as_tensors(), strict=True))


def pictures(dataset: SyntheticFashion) -> set[bytes]:
    return {image.numpy().tobytes() for image in dataset.as_tensors()[0]}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and a full test set of 1,200 samples."""
    monkeypatch.setattr(fashion, "TEST_SIZE", 1_200)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "torch-atelier"


@pytest.fixture
def no_drawing(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """The full set is in the cache, and whoever draws from now on fails the test."""
    SyntheticFashion(train=False)
    monkeypatch.setattr(fashion, "draw", lambda *_: pytest.fail("drawn again"))


@pytest.mark.parametrize(
    ("train", "seed", "sha256"),
    [
        (True, 0, "0524f4564c727c625c984838f66191daec91f615f2e1729705829c8af46c40fd"),
        (False, 0, "45ce77737b7ec8df9e3bfa746b930b824d1e31067f37074a0dab16575b2c1d09"),
        (True, 7, "1832aeac7f6fc44b9b9fd4293f0c60fdfe2d3e0a9637df974ee6daca4de933f2"),
    ],
)
def test_bits_are_those_of_every_other_machine(train: bool, seed: int, sha256: str) -> None:
    # If a drawing was changed on purpose: new hashes here, and a new VERSION there, or old caches live on.
    assert fashion.VERSION == 1
    images, labels = SyntheticFashion(train=train, seed=seed, size=1_000).as_tensors()
    assert hashlib.sha256(images.numpy().tobytes() + labels.numpy().astype("<i8").tobytes()).hexdigest() == sha256


def test_samples_are_those_of_fashion_mnist_in_name_and_kind() -> None:
    from torchvision.datasets import FashionMNIST

    dataset = SyntheticFashion(size=30)
    images, labels = dataset.as_tensors()
    assert dataset.classes == tuple(FashionMNIST.classes)
    assert (len(dataset), images.shape, labels.shape) == (30, (30, 1, 28, 28), (30,))
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    image, label = dataset[3]
    assert torch.equal(image, images[3])
    assert type(label) is int and label == labels[3]
    assert len(list(zip(dataset, range(100), strict=False))) == 30  # a for loop ends where the set does


def test_classes_are_equally_frequent_and_shuffled() -> None:
    labels = SyntheticFashion(size=2_000).as_tensors()[1]
    assert labels[:1000].bincount().tolist() == labels[1000:].bincount().tolist() == [100] * 10
    assert labels[:100].unique().numel() == 10
    assert not torch.equal(labels[:1000], labels[1000:])


def test_a_small_set_is_the_beginning_of_a_larger_one(cache: Path) -> None:
    full = SyntheticFashion(train=False).as_tensors()
    for size in (1, 70, 1_000, 1_100):
        part = SyntheticFashion(train=False, size=size).as_tensors()
        assert all(torch.equal(few, many[:size]) for few, many in zip(part, full, strict=True))


def test_no_picture_is_in_both_sets_or_twice_in_one() -> None:
    train, test, other = (
        pictures(SyntheticFashion(train=train, seed=seed, size=2_000))
        for train, seed in ((True, 0), (False, 0), (True, 1))
    )
    assert len(train) == len(test) == 2_000
    assert not train & test and not train & other


@pytest.mark.parametrize("size", [0, -1, 10_001])
def test_a_size_it_does_not_have_is_refused(size: int) -> None:
    expected = f"SyntheticFashion: size: found {size}; the test set has 1 to 10000 samples to give"
    with pytest.raises(ValueError, match=expected):
        SyntheticFashion(train=False, size=size)


def test_full_set_is_drawn_once(cache: Path, no_drawing: None) -> None:
    assert len(SyntheticFashion(train=False)) == 1_200
    assert [file.name for file in cache.iterdir()] == ["synthetic-fashion-v1-seed0-test.u8"]


def test_another_seed_is_another_file(cache: Path, no_drawing: None) -> None:
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        SyntheticFashion(train=False, seed=1)


def test_root_is_used_instead_of_the_users_cache(cache: Path, tmp_path: Path) -> None:
    SyntheticFashion(tmp_path / "data", train=False)
    assert (tmp_path / "data/SyntheticFashion/synthetic-fashion-v1-seed0-test.u8").is_file()
    assert not cache.exists()


def test_a_small_set_touches_no_disk(cache: Path) -> None:
    SyntheticFashion(train=False, size=10)
    assert not cache.exists()


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


DAMAGES = {
    "a flipped bit": flip_a_bit,
    "cut short": lambda file: file.write_bytes(file.read_bytes()[:5_000]),
    "shorter than its hash": lambda file: file.write_bytes(b"half"),
    "empty": lambda file: file.write_bytes(b""),
    "too long": lambda file: file.write_bytes(file.read_bytes() + b"x"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_remade(damage: str, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    intact = SyntheticFashion(train=False)
    (file,) = cache.iterdir()
    content = file.read_bytes()
    DAMAGES[damage](file)
    with caplog.at_level(logging.WARNING):
        assert same(SyntheticFashion(train=False), intact)
    assert f"{file}: damaged: drawing the images again" in caplog.text
    assert same(SyntheticFashion(train=False), intact)
    assert file.read_bytes() == content and list(cache.iterdir()) == [file]


def test_a_cache_that_cannot_be_written_costs_a_line(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        assert len(SyntheticFashion(train=False)) == 1_200
    (line,) = caplog.messages
    assert "cannot keep the drawn images (File exists): the next run draws them again" in line


def test_a_disk_that_fills_up_leaves_nothing_behind(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fill_up(file: Path, content: bytes) -> None:
        file.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fill_up)
    assert len(SyntheticFashion(train=False)) == 1_200
    assert "No space left on device" in caplog.text
    assert list(cache.iterdir()) == []


def accuracy(net: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], lr: float) -> float:
    optimizer = torch.optim.Adam(net.parameters(), lr)
    for _ in range(5):
        for batch in torch.randperm(len(train[1])).split(50):
            loss = nn.functional.cross_entropy(net(train[0][batch] / 255), train[1][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return float((net(test[0] / 255).argmax(1) == test[1]).float().mean())


def test_a_small_cnn_learns_what_a_linear_model_cannot() -> None:
    train = SyntheticFashion(size=4_000).as_tensors()
    test = SyntheticFashion(train=False, size=1_000).as_tensors()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = accuracy(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), train, test, lr=2e-3)
        convolutions = [nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 24, 3), nn.ReLU(), nn.MaxPool2d(2)]
        cnn = accuracy(nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(600, 10)), train, test, lr=5e-3)
    assert 0.6 < linear < cnn - 0.04
    assert cnn < 0.97
