"""Samples out of images and .npz files, of the kind that a run was trained on. PIL is imported for images alone."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from base.errors import DataError

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""PIL's name for 8 bits in so many channels: gray, colours, colours with transparency."""
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
SUFFIXES = (".npz", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""What is taken of a folder."""


def files_in(path: Path) -> list[Path]:
    """The file itself, or of a folder the images and .npz files that lie in it, by name."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return [path]
    found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file())
    if not found:
        raise DataError(f"{path}: there is no image and no .npz file in this folder ({', '.join(SUFFIXES)})")
    return found


def samples_of(file: Path, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each with a name. `given` says what the run's data sets give: a `mode` of PIL, or `dtype` and `shape`."""
    if file.suffix.lower() == ".npz":
        yield from _rows(file, given)
    else:
        yield str(file), _image(file, given)


def _image(file: Path, given: Mapping[str, Any]) -> Any:
    """An image of PIL, or uint8 (C, H, W), as the run's data sets have it. Transparency is dropped, not blended."""
    from PIL import Image, UnidentifiedImageError

    mode = given.get("mode")
    if mode is None:
        shape, dtype = given["shape"], given["dtype"]
        mode = MODES.get(shape[0]) if len(shape) == 3 and dtype == "uint8" else None
    if mode not in MODES.values():
        kind = given.get("mode") or f"{given['dtype']} of shape {'x'.join(map(str, given['shape']))}"
        raise DataError(
            f"{file}: the run was trained on {kind}, which no image file is turned into; expected an .npz file"
        )
    try:
        with Image.open(file) as image:
            if image.mode not in EIGHT_BITS:
                raise DataError(f"{file}: its pixels are of mode {image.mode}; expected 8 bits a channel")
            converted = image.convert(mode)
    except UnidentifiedImageError:
        raise DataError(f"{file}: not an image, nor an .npz file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: cannot be read: {error}") from None
    if "mode" in given:
        return converted
    pixels = np.array(converted)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _rows(file: Path, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Of the array `input`, or of the only one: (N, ...) samples, or one sample (...)."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            name = "input" if "input" in names else names[0] if len(names) == 1 else None
            if name is None:
                raise DataError(f"{file}: which array? expected one named 'input', or a single one; found {names}")
            array = arrays[name]
    except (OSError, zipfile.BadZipFile, ValueError, EOFError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{file}: cannot be read as .npz: {error}") from None
    if "mode" in given:
        raise DataError(f"{file}: the run was trained on images of mode {given['mode']}; expected image files")
    shape, found = list(given["shape"]), f"{array.dtype} of shape {array.shape}"
    if str(array.dtype) != given["dtype"] or list(array.shape[-len(shape) :] if shape else ()) != shape:
        expected = f"{given['dtype']} of shape ({', '.join(map(str, ['N', *shape]))}), as the run's data are"
        raise DataError(f"{file}: array {name!r} is {found}; expected {expected}")
    if array.ndim == len(shape):
        yield str(file), array
    elif array.ndim == len(shape) + 1:
        yield from ((f"{os.fspath(file)}[{i}]", row) for i, row in enumerate(array))
    else:
        raise DataError(f"{file}: array {name!r} is {found}; expected at most one dimension more than a sample has")
