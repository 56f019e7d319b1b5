"""Downloads dataset files atomically, with a timeout."""

from __future__ import annotations

import errno
import hashlib
import http.client
import queue
import shutil
import socket
import tarfile
import tempfile
import threading
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from base.errors import WriteError

PATIENCE = 10.0  # seconds without a byte, from all mirrors together
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Unreachable(Exception):
    """No mirror gave the files; the text says what happened."""


def download_idx(name: str, root: Path) -> None:
    """Puts the files of torchvision's dataset `name` into `root/name/raw`, checksums verified, with a progress bar.

    Raises `Unreachable` when the mirrors have been silent for `PATIENCE` seconds, `WriteError` when `root` is not
    writable. Files appear only when complete.
    """
    from torchvision import datasets

    source, folder = getattr(datasets, name), root / name / "raw"
    addresses = [mirror + source.resources[0][0] for mirror in source.mirrors]
    with _temporary(name, folder, addresses) as temporary:
        with _or_unreachable():
            source(temporary, download=True)
        for file in (temporary / name / "raw").iterdir():
            file.replace(folder / file.name)


def download_archive(name: str, url: str, md5: str, folder: Path, files: Sequence[str]) -> None:
    """Puts `files`, which the .tar.gz at `url` holds in a folder of the same name, into `folder`; errors as above."""
    with _temporary(name, folder, [url]) as temporary:
        archive = temporary / "archive.tar.gz"
        with _or_unreachable():
            _fetch(url, archive, md5)
            with tarfile.open(archive) as opened:
                for file in files:
                    member = opened.extractfile(f"{folder.name}/{file}")
                    if member is None:
                        raise RuntimeError(f"{file} is no file in it")
                    with member, (temporary / file).open("wb") as target:
                        shutil.copyfileobj(member, target)
        for file in files:
            (temporary / file).replace(folder / file)


def _fetch(url: str, file: Path, md5: str) -> None:
    from tqdm import tqdm

    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url) as response, file.open("wb") as target:
        size = int(response.headers.get("Content-Length") or 0) or None
        with tqdm(total=size, unit="B", unit_scale=True, desc=url.rpartition("/")[2]) as bar:
            while block := response.read(1 << 20):
                digest.update(block)
                target.write(block)
                bar.update(len(block))
    if digest.hexdigest() != md5:
        raise RuntimeError(f"{url} has the MD5 {digest.hexdigest()}, expected {md5}")


@contextmanager
def _temporary(name: str, folder: Path, addresses: Sequence[str]) -> Iterator[Path]:
    """A folder inside the one that is to be filled, once an address has answered; silence is borne no longer."""
    begun = time.monotonic()
    if not _answers(addresses, PATIENCE):
        raise Unreachable(f"no mirror answered within {PATIENCE:.0f} s")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary,
            _socket_timeout(max(1.0, PATIENCE - (time.monotonic() - begun))),
        ):
            yield Path(temporary)
    except OSError as error:
        raise WriteError(f"{name} cannot be downloaded to {folder}: {error}") from error


@contextmanager
def _or_unreachable() -> Iterator[None]:
    try:
        yield
    except (
        OSError,
        RuntimeError,
        KeyError,
        EOFError,
        zlib.error,
        tarfile.TarError,
        http.client.HTTPException,
    ) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            raise
        raise Unreachable(f"the download failed ({' '.join(str(error).split())})") from error


def _answers(urls: Sequence[str], seconds: float) -> bool:
    """True as soon as one address gives a byte. Threads, because nothing else bounds the look-up of a name."""
    replies: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def ask(url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as response:
                replies.put(bool(response.read(1)))
        except (OSError, ValueError, http.client.HTTPException):
            replies.put(False)

    for url in urls:
        threading.Thread(target=ask, args=(url,), daemon=True).start()
    end = time.monotonic() + seconds
    try:
        return any(replies.get(timeout=max(0.0, end - time.monotonic())) for _ in urls)
    except queue.Empty:
        return False


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torchvision sets none of its own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
