"""Fetching the files of torchvision's MNIST-like data sets, with a limit on how long silence is borne."""

from __future__ import annotations

import errno
import http.client
import queue
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.errors import WriteError

PATIENCE = 10.0  # seconds without a byte, from all mirrors together
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Unreachable(Exception):
    """No mirror gave the files; the text says what happened."""


def download_idx(name: str, root: Path) -> None:
    """Puts the files of torchvision's data set `name` into `root/name/raw`, checksums verified, with a progress bar.

    Raises `Unreachable` when the mirrors have been silent for `PATIENCE` seconds, `WriteError` when `root` is not
    writable. Files appear only when complete.
    """
    from torchvision import datasets

    source = getattr(datasets, name)
    begun = time.monotonic()
    if not _answers([mirror + source.resources[0][0] for mirror in source.mirrors], PATIENCE):
        raise Unreachable(f"no mirror answered within {PATIENCE:.0f} s")
    folder = root / name / "raw"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
            with _socket_timeout(max(1.0, PATIENCE - (time.monotonic() - begun))):
                _fetch(source, temporary)
            for file in (Path(temporary) / name / "raw").iterdir():
                file.replace(folder / file.name)
    except OSError as error:
        raise WriteError(f"{name} cannot be downloaded to {folder}: {error}") from error


def _fetch(source: Any, folder: str) -> None:
    try:
        source(folder, download=True)
    except (OSError, RuntimeError, http.client.HTTPException) as error:
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
