"""Durable files."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest
import torch

from utils import files


class Recording(files.Disk):
    """Notes what is done, in order."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def write(self, descriptor: int, data: memoryview) -> int:
        self.done.append("write")
        return super().write(descriptor, data[:1000])  # as a disk may: not all at once

    def fsync(self, descriptor: int) -> None:
        self.done.append("fsync")
        super().fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        self.done.append(f"{source.name} -> {target.name}")
        super().replace(source, target)

    def sync_folder(self, path: Path) -> None:
        self.done.append(f"sync {path.name}")
        super().sync_folder(path)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Recording:
    disk = Recording()
    monkeypatch.setattr(files, "disk", disk)
    return disk


def test_a_file_is_hashed_while_it_is_written_and_synced_at_the_end(tmp_path: Path, disk: Recording) -> None:
    data = os.urandom(2500)
    with files.HashedFile(tmp_path / "file") as file:
        file.write(data)
        file.write(b"")
        file.write(memoryview(b"end"))
    assert (tmp_path / "file").read_bytes() == data + b"end"
    assert (file.bytes, file.sha256) == (2503, hashlib.sha256(data + b"end").hexdigest())
    assert disk.done == ["write"] * 4 + ["fsync"]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError):
        files.HashedFile(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_small_file_is_replaced_whole(tmp_path: Path, disk: Recording) -> None:
    path = tmp_path / "last"
    path.write_text("old")
    (tmp_path / ".tmp-last").write_text("of a process that died")
    files.replace_file(path, b"new")
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("last", "new")]
    assert disk.done == ["write", "fsync", ".tmp-last -> last", f"sync {tmp_path.name}"]


def test_a_rename_is_synced_in_both_folders(tmp_path: Path, disk: Recording) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "file").write_text("x")
    files.rename(tmp_path / "a" / "file", tmp_path / "b" / "file")
    assert disk.done == ["file -> file", "sync b", "sync a"]


def test_a_removed_tree_takes_links_but_not_what_they_point_to(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").write_text("x")
    doomed = tmp_path / "doomed"
    (doomed / "deep").mkdir(parents=True)
    (doomed / "deep" / "file").write_text("x")
    (doomed / "folder").symlink_to(kept)
    (doomed / "dangling").symlink_to(tmp_path / "nowhere")
    files.remove_tree(doomed)
    files.remove_tree(tmp_path / "never there")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept"]
    assert (kept / "file").exists()


def test_folders_that_cannot_be_synced_are_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, code: int = errno.EINVAL) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    files.Disk().sync_folder(tmp_path)
    monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
    files.Disk().sync_folder(tmp_path / "never there")
    monkeypatch.undo()
    monkeypatch.setattr(os, "fsync", lambda descriptor: refuse(descriptor, errno.EIO))
    with pytest.raises(OSError, match="refused"):
        files.Disk().sync_folder(tmp_path)


def test_the_disks_error_is_found_behind_the_one_of_torch_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(files.Disk):
        def write(self, descriptor: int, data: memoryview) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "disk", Full())
    with pytest.raises(Exception) as caught, files.HashedFile(tmp_path / "file") as file:
        torch.save({"a": torch.ones(3)}, file)
    error = files.os_error(caught.value)
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert files.os_error(ValueError("of another kind")) is None
