"""Reading IDX files: what is damaged is named, with what to do about it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from base.errors import DataError
from data_loader.image_datasets import find_idx, read_idx
from tests.data_loader.toy_sets import write_idx

VALUES = np.arange(24).reshape(2, 3, 4)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_idx(tmp_path / "images", VALUES)
    return tmp_path / "images"


def test_a_file_is_read_plain_and_gzipped(file: Path) -> None:
    assert read_idx(file, 3).tolist() == VALUES.tolist()
    gzipped = file.with_name("images.gz")
    gzipped.write_bytes(gzip.compress(file.read_bytes()))
    assert read_idx(gzipped, 3).tolist() == VALUES.tolist()
    assert find_idx(file.parent, "images") == file
    file.unlink()
    assert find_idx(file.parent, "images") == gzipped
    assert find_idx(file.parent, "labels") is None


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "it has 0 bytes, less than its header of 16"),
        (b"\0\0\x08\3\0\0", "it has 6 bytes, less than its header of 16"),
        (b"<html>" * 10, "it begins with 3c68746d, expected 00000803"),
        (bytes((0, 0, 8, 1)) + bytes(36), "it begins with 00000801, expected 00000803"),
    ],
)
def test_a_damaged_file_is_named_with_what_to_delete(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_idx(file, 3)
    assert str(error.value) == f"{file} is damaged: {what}; delete it, it is downloaded again then"


@pytest.mark.parametrize("change", [-1, 1])
def test_a_truncated_or_longer_file_is_noticed(file: Path, change: int) -> None:
    content = file.read_bytes()
    file.write_bytes(content[:-1] if change < 0 else content + b"\0")
    with pytest.raises(DataError, match=rf"it has {40 + change} bytes, its header promises 2x3x4 values, 40 bytes"):
        read_idx(file, 3)


def test_a_damaged_archive_is_named(file: Path) -> None:
    gzipped = file.with_name("images.gz")
    gzipped.write_bytes(gzip.compress(file.read_bytes())[:-12])
    with pytest.raises(DataError, match=r"images\.gz is damaged: it cannot be read \(EOFError: .*delete it"):
        read_idx(gzipped, 3)
    gzipped.write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"images\.gz is damaged: it cannot be read \(BadGzipFile"):
        read_idx(gzipped, 3)


def test_a_damaged_file_with_an_archive_beside_it_needs_no_download(file: Path) -> None:
    file.with_name("images.gz").write_bytes(gzip.compress(file.read_bytes()))
    file.write_bytes(b"")
    with pytest.raises(DataError, match=r"delete it, images\.gz beside it is read then"):
        read_idx(file, 3)
