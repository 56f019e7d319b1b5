"""The shipped config in pytorch-template's shape, on small files in MNIST's form."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from base import evaluate, fit
from base.errors import DataError
from data_loader.external_loaders import MEAN, STD, MnistDataLoader, normalized
from data_loader.image_datasets import MNIST
from tests.small_run import write_garments

CONFIG = Path(__file__).parents[2] / "configs" / "mnist_lenet.json"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    write_garments(tmp_path / "files", train=200, test=40)
    (tmp_path / "files" / "FashionMNIST").rename(tmp_path / "files" / "MNIST")
    return tmp_path / "files"


def test_the_shipped_config_trains_and_tests(digits: Path, tmp_path: Path) -> None:
    changes = {"data_loader.args.data_dir": str(digits), "data_loader.args.batch_size": 20, "trainer.epochs": 2}
    run = fit(CONFIG, {**changes, "trainer.save_dir": str(tmp_path / "saved"), "trainer.tensorboard": False})
    assert run.reason == "finished" and run.trainer.data.train.size == 180
    assert evaluate(run.path).keys() >= {"loss", "accuracy", "top_k_accuracy"}


def test_images_are_normalized_a_batch_at_a_time(digits: Path) -> None:
    loader = MnistDataLoader(str(digits), 8, shuffle=False, training=False)
    images, labels = next(iter(loader))
    first, label = MNIST(digits, train=False)[0]
    assert torch.equal(images[0], (first.float() / 255 - MEAN) / STD) and labels[0] == label
    assert normalized([(first, label)])[0].dtype == torch.float32


def test_without_files_and_network_it_says_what_to_put_where(tmp_path: Path) -> None:
    changes = {"data_loader.args.data_dir": str(tmp_path), "data_loader.args.download": False}
    with pytest.raises(DataError, match=r"MNIST: its files are not in .*MNIST/raw and download is false; put there: "):
        fit(CONFIG, {**changes, "trainer.save_dir": str(tmp_path / "saved")})
