"""CIFAR from small files in its binary format, from a server of the test's own, and never from a pickle."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from base import fit
from base.errors import DataError, MissingFiles
from data_loader import download
from data_loader.image_datasets import CIFAR10, CIFAR100
from tests.data_loader.test_download import serving
from tests.data_loader.toy_sets import make, write_cifar10
from tests.small_run import rows


def test_images_and_labels_lie_as_they_are_written(tmp_path: Path) -> None:
    folder = write_cifar10(tmp_path)
    train, test = CIFAR10(tmp_path), CIFAR10(tmp_path, train=False)
    images, labels = train.as_tensors()
    assert images.shape == (50, 3, 32, 32) and images.dtype == torch.uint8 and labels.dtype == torch.int64
    assert len(test) == 20 and labels[10:20].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    second = np.fromfile(folder / "data_batch_2.bin", dtype=np.uint8).reshape(10, 3073)[3]
    assert second[0] == train[13][1] and np.array_equal(train[13][0].numpy().ravel(), second[1:])
    red = images[13, 0]
    assert red[1, 2] == second[1 + 32 + 2]  # row by row, the red ones first
    assert train.classes[3] == "cat" and len(train.classes) == 10


def test_of_cifar100_the_fine_labels_are_the_classes(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    for name in ("train", "test"):
        records = np.zeros((3, 3074), dtype=np.uint8)
        records[:, 0], records[:, 1], records[:, 2] = 19, (7, 99, 0), 200
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    data = CIFAR100(tmp_path, train=False)
    images, labels = data.as_tensors()
    assert labels.tolist() == [7, 99, 0] and images[0, 0, 0, :2].tolist() == [200, 0]
    assert data.classes[99] == "99"
    (folder / "fine_label_names.txt").write_text("\n".join(f"kind{i}" for i in range(100)))
    assert CIFAR100(tmp_path).classes[99] == "kind99"


def test_it_goes_by_name_into_memory_with_a_test_set(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    data = make("CIFAR10", {"root": str(tmp_path), "download": False}, valid=0.2, stratify=True)
    assert (data.train.size, data.valid[""].size, data.test[""].size) == (40, 10, 20)
    assert data.facts["data.num_classes"] == 10 and data.decisions["in_memory"]["train"]["in_memory"]


def test_missing_files_are_told_with_where_to_get_them_and_a_pickle_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(MissingFiles) as error:
        CIFAR10(tmp_path, download=False)
    expected = (
        f"CIFAR10: its files are not in {tmp_path}/cifar-10-batches-bin and download is false; unpack "
        f"https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz in {tmp_path}"
    )
    assert str(error.value) == expected and error.value.exit_code == 5
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(MissingFiles) as error:
        CIFAR10(tmp_path, download=False)
    assert str(error.value) == (
        f"{expected} (cifar-10-batches-py beside it is the python version, a pickle: it is not read)"
    )


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (bytes(3072), "it has 3072 bytes, which is no multiple of 3073, the bytes of an image and its label"),
        (b"", "it has 0 bytes"),
        (bytes([10]) + bytes(3072), "it has the class 10, and there are 10"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, what: str) -> None:
    file = write_cifar10(tmp_path) / "data_batch_3.bin"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"data_batch_3\.bin is damaged: {what}.*; delete it, it is downloaded again"):
        CIFAR10(tmp_path)


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """CIFAR-10's archive on a server, with more in it than is asked for."""
    served = tmp_path / "served"
    served.mkdir()
    folder = write_cifar10(tmp_path / "made")
    with tarfile.open(served / "cifar.tar.gz", "w:gz") as tar:
        tar.add(folder, folder.name)
        evil = tarfile.TarInfo("../evil")
        tar.addfile(evil, io.BytesIO())
    with serving(served) as address:
        monkeypatch.setattr(CIFAR10, "URL", f"{address}cifar.tar.gz")
        monkeypatch.setattr(CIFAR10, "MD5", hashlib.md5((served / "cifar.tar.gz").read_bytes()).hexdigest())
        yield served / "cifar.tar.gz"


@pytest.mark.usefixtures("archive")
def test_missing_files_are_downloaded_and_nothing_else_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data" / "here"
    assert len(CIFAR10(root)) == 50
    assert {path.name for path in (tmp_path / "data").rglob("*") if path.is_file()} == {
        *CIFAR10.FILES[True], *CIFAR10.FILES[False], "batches.meta.txt"
    }  # fmt: skip
    monkeypatch.setattr(download, "_answers", None)  # a second time nothing is asked for
    assert len(CIFAR10(root, train=False)) == 20


def test_an_archive_that_is_not_what_it_should_be_is_not_kept(archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(b"something else")
    with pytest.raises(
        MissingFiles, match=r"the download failed \(.* has the MD5 [0-9a-f]{32}, expected [0-9a-f]{32}\)"
    ):
        CIFAR10(tmp_path)
    assert list((tmp_path / "cifar-10-batches-bin").iterdir()) == []


def test_an_archive_without_the_files_is_told(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("README"), io.BytesIO())
    monkeypatch.setattr(CIFAR10, "MD5", hashlib.md5(archive.read_bytes()).hexdigest())
    with pytest.raises(MissingFiles, match=r"the download failed \(.*data_batch_1\.bin' not found"):
        CIFAR10(tmp_path)


def test_the_shipped_config_trains_on_such_files(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    changes = {"data.train.args.root": str(tmp_path), "trainer.save_dir": str(tmp_path / "saved")}
    small = {"trainer.epochs": 1, "trainer.steps_per_epoch": 2, "data.loader.batch_size": 8, "trainer.verbosity": 0}
    run = fit(
        "configs/cifar10_resnet.yaml", {**changes, **small, "trainer.tensorboard": False, "trainer.test_at_end": True}
    )
    assert run.reason == "finished" and run.trainer.progress.step == 2
    assert {"val_accuracy", "test_accuracy"} <= {name for row in rows(run) for name in row} and sum(
        p.numel() for p in run.model.parameters()
    ) > 250_000
