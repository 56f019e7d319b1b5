"""One checkpoint on disk: a folder with a hashed manifest, written from a copy of the state in CPU memory.

000003-step-00000938/
    model.safetensors   the weights that are evaluated
    raw.safetensors     the raw ones, when those are averages
    state.pt            everything else: tensors and plain values
    manifest.json       what this is; bytes and hash of each file, and its own hash

../frozen-<hash>.safetensors, beside the saves, holds a module that never learns; it is written once for all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors

from base.checkpoint.snapshot import FROZEN, SAFETENSORS, FrozenFile, Snapshot, Weights
from base.errors import CheckpointError
from base.runs.run_dir import save_name
from utils import files

FORMAT = 2
MODEL, RAW, STATE, MANIFEST = "model.safetensors", "raw.safetensors", "state.pt", "manifest.json"

_OPENING = b'{\n "sha256": "'
_SEAL = slice(len(_OPENING), len(_OPENING) + 64)
_MALFORMED = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


# --- writing ---------------------------------------------------------------------------------------------------------


def write_save(folder: Path, snapshot: Snapshot, info: Mapping[str, Any]) -> None:
    """Make and fill the folder; its files and their names are on the disk at the end. OSError if the disk refuses.

    torch.save hides the disk's error in the context of its own: see `files.os_error`.
    """
    files.disk.mkdir(folder)
    written = {}
    state = {"state": snapshot.state, "model": snapshot.model.elsewhere}
    with files.HashedFile(folder / MODEL) as written[MODEL]:
        _write_weights(written[MODEL], snapshot.model)
    if snapshot.raw is not None:
        state["raw"] = snapshot.raw.elsewhere
        with files.HashedFile(folder / RAW) as written[RAW]:
            _write_weights(written[RAW], snapshot.raw)
    with files.HashedFile(folder / STATE) as written[STATE]:
        torch.save(state, cast(IO[bytes], written[STATE]))
    sums = {name: _entry(file) for name, file in written.items()}
    shards = {"weights": [MODEL], "raw": [] if snapshot.raw is None else [RAW]}
    frozen = {path: _write_frozen(folder.parent, one) for path, one in snapshot.frozen.items()}
    with files.HashedFile(folder / MANIFEST) as file:
        file.write(_sealed({"format": FORMAT, **info, **shards, "frozen": frozen, "files": sums}))
    files.disk.sync_folder(folder)


def _entry(file: files.HashedFile) -> dict[str, Any]:
    return {"bytes": file.bytes, "algorithm": "sha256", "hash": file.sha256}


def _write_frozen(folder: Path, frozen: FrozenFile) -> dict[str, Any]:
    """Writes the file unless it is there. Gives its name, bytes and hash."""
    path = folder / frozen.name
    if frozen.entry is None or not path.exists():
        temporary = folder / f"{files.TEMPORARY}{frozen.name}"
        if temporary.exists():
            files.disk.unlink(temporary)
        with files.HashedFile(temporary) as file:
            _write_weights(file, frozen.weights)
        frozen.entry = {"file": frozen.name, **_entry(file)}
        files.rename(temporary, path)
    return frozen.entry


def _write_weights(file: files.HashedFile, weights: Weights) -> None:
    """The safetensors format, streamed: its library makes two copies of all tensors first, and holds the GIL for it."""
    # Large items first, as the library does: so each tensor lies at a multiple of its item size, fit to be mapped.
    tensors = sorted(weights.tensors.items(), key=lambda item: -item[1].itemsize)
    metadata = {"format": "pt", "aliases": json.dumps(weights.aliases), "elsewhere": json.dumps([*weights.elsewhere])}
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, tensor in tensors:
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": SAFETENSORS[tensor.dtype], "shape": [*tensor.shape], "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, tensor in tensors:
        file.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


def plain(value: Any, key: str = "info") -> Any:
    """`value` as JSON has it, numbers that are not finite as null. CheckpointError names what JSON cannot hold."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): plain(item, f"{key}[{name!r}]") for name, item in value.items()}
        case list() | tuple():
            return [plain(item, f"{key}[{index}]") for index, item in enumerate(value)]
    expected = "numbers, strings, None, lists and dicts of them"
    raise CheckpointError(f"{key} cannot be saved: found {type(value).__name__}, expected {expected}")


def _sealed(manifest: Mapping[str, Any]) -> bytes:
    """The manifest's bytes; the first entry is their SHA-256, taken with 64 zeros in its own place."""
    text = json.dumps({"sha256": "0" * 64, **manifest}, indent=1).encode() + b"\n"
    return text[: _SEAL.start] + hashlib.sha256(text).hexdigest().encode() + text[_SEAL.stop :]


# --- reading ---------------------------------------------------------------------------------------------------------


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says, after its own hash and the folder's name are checked. CheckpointError otherwise."""
    text = _read(folder / MANIFEST)
    unsealed = text[: _SEAL.start] + b"0" * 64 + text[_SEAL.stop :]
    if not text.startswith(_OPENING) or hashlib.sha256(unsealed).hexdigest().encode() != text[_SEAL]:
        raise CheckpointError(f"{folder / MANIFEST}: its bytes were changed since it was saved")
    try:
        manifest: dict[str, Any] = json.loads(text)
        if manifest["format"] not in (1, FORMAT):
            raise ValueError(f"format {manifest['format']}, expected 1 or {FORMAT}")
        name = save_name(manifest["save"], manifest["step"])
        if name != folder.name:
            raise ValueError(f"the manifest of {name}")
        manifest["best"] = bool(manifest["best"])
        if manifest["format"] == 1:
            manifest |= {"weights": [MODEL], "raw": [RAW] if RAW in manifest["files"] else [], "frozen": {}}
        manifest["files"] = {name: _read_entry(entry) for name, entry in manifest["files"].items()}
        manifest["frozen"] = {path: _read_frozen(entry) for path, entry in manifest["frozen"].items()}
        shards = [*manifest["weights"], *manifest["raw"]]
        if not manifest["weights"] or sorted([*shards, STATE]) != sorted(manifest["files"]):
            raise ValueError(f"the files {sorted(manifest['files'])}, expected {sorted(map(str, [*shards, STATE]))}")
        if wrong := [name for name in shards if not _SHARD.fullmatch(name)]:
            raise ValueError(f"the file {wrong[0]!r}, expected names such as {MODEL}")
    except _MALFORMED as error:
        raise CheckpointError(f"{folder / MANIFEST} is not what a save writes: found {_brief(error)}") from None
    return manifest


_SHARD = re.compile(r"(model|raw)(-\d{5}-of-\d{5})?\.safetensors")
_FROZEN_FILE = re.compile(FROZEN + r"[0-9a-f]{32}\.safetensors")


def _read_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    if "sha256" in entry:  # format 1
        entry = {"bytes": entry["bytes"], "algorithm": "sha256", "hash": entry["sha256"]}
    if entry["algorithm"] != "sha256":
        raise ValueError(f"hashes by {entry['algorithm']!r}, expected 'sha256'")
    return {"bytes": int(entry["bytes"]), "algorithm": "sha256", "hash": str(entry["hash"])}


def _read_frozen(entry: Mapping[str, Any]) -> dict[str, Any]:
    if not _FROZEN_FILE.fullmatch(entry["file"]):
        raise ValueError(f"the file {entry['file']!r}, expected {FROZEN}<hash>.safetensors")
    return {"file": entry["file"], **_read_entry(entry)}


class Checkpoint:
    """A save, verified whole when it is opened: CheckpointError if anything differs from what was written.

    Each file is read into memory once and hashed there, and later that memory is parsed, not the file again: what
    happens to the files meanwhile (a run that goes on deletes old saves) is no matter. Hashing and then mapping the
    file would take less memory and look at the disk twice. The bytes of a file are let go when it is parsed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.info = read_manifest(path)
        """What was given to `save`, and `save` (the counter), `best`, `format`, `files`."""
        expected = {*self.info["files"], MANIFEST}
        try:
            # Hidden ones come from file managers and network file systems, and nothing ever reads them.
            found = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None
        if found != expected:
            raise CheckpointError(f"{path}: found the files {sorted(found)}, expected {sorted(expected)}")
        self._bytes = {name: _verified(path / name, entry) for name, entry in self.info["files"].items()}
        for entry in self.info["frozen"].values():  # a save that was moved aside lies a folder deeper
            folders = [path.parent, path.parent.parent]
            found_in = next((folder for folder in folders if (folder / entry["file"]).exists()), folders[0])
            self._bytes[entry["file"]] = _verified(found_in / entry["file"], entry)

    def weights(self) -> dict[str, Any]:
        """The evaluated weights for `load_state_dict`: on the CPU, tied names give one tensor.

        Comes from model.safetensors alone, unless the model has extra state or dtypes that only state.pt can hold.
        """
        return dict(self._model)

    def raw(self) -> dict[str, Any] | None:
        """The raw weights; None when the evaluated ones are the raw ones."""
        return dict(self._raw) if self.info["raw"] else None

    @property
    def state(self) -> dict[str, Any]:
        """The `state` that was given to `save`, tensors on the CPU. CheckpointError if it holds anything else."""
        return cast(dict[str, Any], self._state["state"])

    @cached_property
    def frozen(self) -> dict[str, dict[str, Any]]:
        """The weights of modules that never learn, by path."""
        files_of = {entry["file"]: entry for entry in self.info["frozen"].values()}
        read = {name: self._read_weights(name) for name in files_of}
        return {path: read[entry["file"]] for path, entry in self.info["frozen"].items()}

    @cached_property
    def _model(self) -> dict[str, Any]:
        return self._joined(self.info["weights"])

    @cached_property
    def _raw(self) -> dict[str, Any]:
        return self._joined(self.info["raw"])

    def _joined(self, shards: list[str]) -> dict[str, Any]:
        weights = {name: value for shard in shards for name, value in self._read_weights(shard).items()}
        for path, its in self.frozen.items():
            if path.startswith("models."):
                weights |= {f"{path.removeprefix('models.')}.{name}": value for name, value in its.items()}
        return weights

    def _read_weights(self, name: str) -> dict[str, Any]:
        data = self._bytes.pop(name)
        try:
            weights: dict[str, Any] = safetensors.load(data)
            metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            weights |= {alias: weights[kept] for alias, kept in json.loads(metadata["aliases"]).items()}
            elsewhere = json.loads(metadata["elsewhere"])
            if elsewhere:
                weights |= {key: self._state[re.split("[.-]", name)[0]][key] for key in elsewhere}
        except CheckpointError:
            raise
        except _MALFORMED as error:
            raise CheckpointError(f"{self.path / name} is not what a save writes: found {_brief(error)}") from None
        return weights

    @cached_property
    def _state(self) -> dict[str, Any]:
        try:
            with warnings.catch_warnings(action="ignore"):  # of kinds of tensors that are refused below
                state = torch.load(io.BytesIO(self._bytes.pop(STATE)), map_location="cpu", weights_only=True)
            if not isinstance(state["state"], dict) or not isinstance(state["model"], dict):
                raise TypeError("no state")
        except MemoryError:
            raise
        except Exception as error:  # the reader raises all kinds at hostile bytes, and its text advises to trust them
            named = re.search(r"GLOBAL (\S+)", str(error))
            found = named[1] if named else type(error).__name__
            raise CheckpointError(
                f"{self.path / STATE}: refused as untrusted: found {found}, expected tensors and plain values; "
                "nothing of it was run"
            ) from None
        from base.checkpoint.expected import loading, plain_tensors

        with loading(self.path / STATE):
            for name, part in state.items():
                plain_tensors(part, str(name))
            if self.info["format"] == 1 and {"own", "rng"} <= state["state"].keys():
                from base.checkpoint.format_1 import upgraded

                state["state"] = upgraded(state["state"])
        return cast(dict[str, Any], state)


def _verified(path: Path, entry: Mapping[str, Any]) -> bytes:
    data = _read(path, entry["bytes"])
    if hashlib.sha256(data).hexdigest() != entry["hash"]:
        raise CheckpointError(f"{path}: its bytes were changed since it was saved")
    return data


def _read(path: Path, expected: int | None = None) -> bytes:
    try:
        if path.is_symlink() or not path.is_file():
            raise CheckpointError(f"{path}: no such file")
        size = path.stat().st_size
        if expected is not None and size != expected:  # looked at first: a wrong file may be of any size
            raise CheckpointError(f"{path}: found {size} bytes, expected {expected}")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def _brief(error: Exception) -> str:
    text = str(error).partition("\n")[0][:200]
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"
