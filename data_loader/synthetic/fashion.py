"""SyntheticFashion: ten classes of drawn garments, for machines without network or data."""

from __future__ import annotations

import hashlib
import logging
import os
import uuid
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from base.registry import DATASETS
from data_loader.samples import InMemoryDataset
from data_loader.synthetic.garments import SIDE, SKETCHES, Dice, draw

TRAIN_SIZE, TEST_SIZE = 60_000, 10_000
CHUNK = 1_000  # samples drawn together, 100 of each class, from streams of their own
VERSION = 1  # of the drawings, in the cache's file name: raise it with every change that alters a pixel
DIGEST = hashlib.sha256().digest_size

Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]  # (N, 28, 28) images and (N,) labels
log = logging.getLogger(__name__)


@DATASETS.register
class SyntheticFashion(InMemoryDataset):
    """Look-alikes of Fashion-MNIST: 60,000 training and 10,000 test images, 28x28 uint8, ten equally frequent classes.

    The images depend on ``seed`` and ``train`` alone and are the same bits on every machine. The full dataset is drawn
    once, which takes some seconds, and saved under ``root`` or in the user's cache folder
    (``$XDG_CACHE_HOME/torch-atelier``, else ``~/.cache/torch-atelier``). With ``size`` only that many samples from its
    beginning are drawn, and nothing is saved.

    ValueError for a ``size`` that the dataset does not have.
    """

    classes = tuple(SKETCHES)

    def __init__(
        self, root: str | Path | None = None, train: bool = True, seed: int = 0, size: int | None = None
    ) -> None:
        full = TRAIN_SIZE if train else TEST_SIZE
        if size is not None and not 1 <= size <= full:
            part = "training" if train else "test"
            raise ValueError(f"SyntheticFashion: size: found {size}; the {part} set has 1 to {full} samples to give")
        if size is None:
            folder = Path(root) / "SyntheticFashion" if root is not None else _user_cache()
            file = folder / f"synthetic-fashion-v{VERSION}-seed{seed}-{'train' if train else 'test'}.u8"
            images, labels = _kept_or_drawn(file, full, train, seed)
        else:
            images, labels = _draw(size, train, seed)
        super().__init__(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels))


def _draw(size: int, train: bool, seed: int) -> Arrays:
    """The first ``size`` images and labels. Every chunk has its own streams: a longer dataset begins like a shorter."""
    each = CHUNK // len(SKETCHES)
    of_class = np.repeat(np.arange(len(SKETCHES)), each)
    images = np.empty((size, SIDE, SIDE), dtype=np.uint8)
    labels = np.empty(size, dtype=np.int64)
    for chunk, start in enumerate(range(0, size, CHUNK)):
        stream = (int(train), chunk)
        drawn = np.concatenate([draw(name, each, seed, *stream, i) for i, name in enumerate(SKETCHES)])
        order = Dice(1, seed, *stream, len(SKETCHES)).order(CHUNK)[: size - start]
        images[start : start + CHUNK] = drawn[order]
        labels[start : start + CHUNK] = of_class[order]
    return images, labels


def _kept_or_drawn(file: Path, size: int, train: bool, seed: int) -> Arrays:
    """The images in the file, if it is there and intact; else they are drawn, and saved for the next time."""
    try:
        return _read(file, size)
    except OSError:
        log.info("drawing %d images for %s", size, file)
    except ValueError as error:
        log.warning("%s: %s: drawing the images again", file, error)
    images, labels = _draw(size, train, seed)
    try:
        _write(file, images, labels)
    except OSError as error:
        log.warning("%s: cannot keep the drawn images (%s): the next run draws them again", file, error.strerror)
    return images, labels


def _read(file: Path, size: int) -> Arrays:
    """A SHA-256, then what it hashes: the pixels, and one byte for each label. ValueError if they do not match."""
    data = np.fromfile(file, dtype=np.uint8)
    digest, pixels, labels = np.split(data, [DIGEST, DIGEST + size * SIDE * SIDE])
    if hashlib.sha256(data[DIGEST:].data).digest() != digest.tobytes():
        raise ValueError("damaged")
    return pixels.reshape(size, SIDE, SIDE), labels.astype(np.int64)


def _write(file: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """Writes to a file of a unique name and renames it, since several runs may start at once."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = images.tobytes() + labels.astype(np.uint8).tobytes()
    unfinished = file.with_name(f".tmp-{uuid.uuid4().hex}")
    try:
        unfinished.write_bytes(hashlib.sha256(content).digest() + content)
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torch-atelier"
