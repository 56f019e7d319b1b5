"""Downloads through torchvision from a server of the test's own: whole or not at all, and never waited for in vain."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from base.errors import WriteError
from data_loader import download
from data_loader.download import Unreachable, download_idx
from data_loader.image_datasets import FashionMNIST
from tests.data_loader.test_images import write_set


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address where a folder's files are served."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder with the four archives, and the address where it is served."""
    folder = tmp_path / "served"
    raw = write_set(tmp_path / "made")
    folder.mkdir()
    for file in raw.iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), mtime=0))
    with serving(folder) as address:
        yield folder, address


def use_mirrors(monkeypatch: pytest.MonkeyPatch, folder: Path, *mirrors: str) -> None:
    from torchvision import datasets

    checksums = [(f.name, hashlib.md5(f.read_bytes()).hexdigest()) for f in sorted(folder.glob("*.gz"))]
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", list(mirrors))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", checksums)


def test_missing_files_are_downloaded_checked_and_put_in_place(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    use_mirrors(monkeypatch, folder, "http://127.0.0.1:9/", address)
    assert len(FashionMNIST(tmp_path / "data")) == 20
    raw = tmp_path / "data" / "FashionMNIST" / "raw"
    assert len(list(raw.iterdir())) == 8
    monkeypatch.setattr(download, "download_idx", None)  # a second time nothing is asked for
    assert len(FashionMNIST(tmp_path / "data", train=False)) == 10


def test_a_file_that_is_not_what_it_should_be_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    use_mirrors(monkeypatch, folder, address)
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
    with pytest.raises(Unreachable, match=r"the download failed .*corrupted"):
        download_idx("FashionMNIST", tmp_path)
    assert list((tmp_path / "FashionMNIST" / "raw").iterdir()) == []


def test_a_server_that_hangs_is_waited_for_no_longer_than_agreed(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_mirrors(monkeypatch, served[0], f"http://127.0.0.1:{silent.getsockname()[1]}/")
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="no mirror answered"):
            download_idx("FashionMNIST", tmp_path)
    assert time.monotonic() - begun < 5
    assert not (tmp_path / "FashionMNIST").exists()


def test_a_name_server_that_hangs_is_not_waited_for_either(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    use_mirrors(monkeypatch, served[0], "http://nowhere.invalid/")
    released = threading.Event()

    def hang(*args: Any, **options: Any) -> None:
        released.wait(60)
        raise OSError

    monkeypatch.setattr(urllib.request, "urlopen", hang)
    with pytest.raises(Unreachable, match="no mirror answered"):
        download_idx("FashionMNIST", tmp_path)
    released.set()


def test_a_server_that_falls_silent_halfway_is_given_up(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    folder, address = served
    use_mirrors(monkeypatch, folder, address)
    monkeypatch.setattr(download, "PATIENCE", 0.3)
    waited = threading.Event()

    def stall(self: Any) -> None:
        if "images" in self.path and waited.is_set():
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x")
            self.wfile.flush()
            released.wait(20)
        else:
            waited.set()
            http.server.SimpleHTTPRequestHandler.do_GET(self)

    released = threading.Event()
    monkeypatch.setattr(Quiet, "do_GET", stall)
    with pytest.raises(Unreachable, match=r"the download failed \(timed out\)"):
        download_idx("FashionMNIST", tmp_path)
    released.set()
    assert socket.getdefaulttimeout() is None


def test_a_folder_that_cannot_be_made_is_an_error_of_writing(
    monkeypatch: pytest.MonkeyPatch, served: tuple[Path, str], tmp_path: Path
) -> None:
    use_mirrors(monkeypatch, *served)
    (tmp_path / "data").write_text("a file")
    with pytest.raises(
        WriteError, match=r"FashionMNIST cannot be downloaded to .*data/FashionMNIST/raw: .*Not a directory"
    ):
        download_idx("FashionMNIST", tmp_path / "data")
