"""IDX files, the format of MNIST and its relatives: http://yann.lecun.com/exdb/mnist/ (also gzipped)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from base.errors import DataError


def find_idx(folder: Path, name: str) -> Path | None:
    """The file `name` in `folder`, or the gzipped one, or None."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_idx(path: Path, dimensions: int) -> Tensor:
    """The uint8 tensor of that many dimensions in an IDX file. DataError if header or length are wrong."""
    try:
        content = _content(path)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged(path, f"it cannot be read ({type(error).__name__}: {error})") from error
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise _damaged(path, f"it has {len(content)} bytes, less than its header of {header}")
    expected = bytes((0, 0, 8, dimensions))
    if content[:4].tobytes() != expected:
        raise _damaged(path, f"it begins with {content[:4].tobytes().hex()}, expected {expected.hex()}")
    shape = np.frombuffer(content[4:header].tobytes(), dtype=">u4").tolist()
    length = header + math.prod(shape)
    if len(content) != length:
        shown = "x".join(map(str, shape))
        raise _damaged(path, f"it has {len(content)} bytes, its header promises {shown} values, {length} bytes")
    return torch.from_numpy(content[header:]).reshape(shape)


def _content(path: Path) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    if path.suffix == ".gz":
        # A bytearray, for torch wants memory that may be written to.
        return np.frombuffer(bytearray(gzip.decompress(path.read_bytes())), dtype=np.uint8)
    return np.fromfile(path, dtype=np.uint8)


def _damaged(path: Path, what: str) -> DataError:
    gzipped = path.with_name(f"{path.name}.gz")
    remedy = f"{gzipped.name} beside it is read then" if gzipped.is_file() else "it is downloaded again then"
    return DataError(f"{path} is damaged: {what}; delete it, {remedy}")
