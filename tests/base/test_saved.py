"""A save that was damaged or tampered with is always noticed, and nothing that it holds is ever run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from base.checkpoint import format as module
from base.checkpoint.format import Checkpoint
from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError

FILES = ["manifest.json", "model.safetensors", "raw.safetensors", "state.pt"]
BLOCK = 4096


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two saves of 10 to 30 KB a file."""
    store = CheckpointStore(tmp_path_factory.mktemp("run") / "checkpoints")
    for step in (0, 7):
        torch.manual_seed(step)
        state = {"moments": [torch.randn(1500), torch.randn(900)], "epoch": step}
        info = {"step": step, "metrics": {"val_loss": 0.5}, "note": "x" * 200}
        store.save({"w": torch.randn(40, 70), "b": torch.randn(70)}, state, info, raw={"w": torch.randn(40, 70)})
    store.join()
    return store.folder


@pytest.fixture
def save(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of the newer save, to be spoiled."""
    shutil.copytree(checkpoints, tmp_path / "checkpoints")
    return tmp_path / "checkpoints" / "000001-step-00000007"


def refused(save: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(save)
    assert "\n" not in str(caught.value)
    assert str(save) in str(caught.value)
    return str(caught.value)


def versions(data: bytes, step: int) -> Iterator[bytes]:
    """`data` cut at every block, and with one bit flipped in every `step`-th byte."""
    for end in {*range(0, len(data), BLOCK), len(data) - 1}:
        yield data[:end]
    yield data + b"\0"
    for at in range(0, len(data), step):
        bit = 1 << (at // step) % 8
        yield data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]


@pytest.mark.parametrize("name", FILES)
def test_every_region_of_every_file_is_watched(save: Path, name: str) -> None:
    path = save / name
    whole = path.read_bytes()
    count = 0
    for data in versions(whole, step=1 if name == "manifest.json" else 61):
        path.write_bytes(data)
        assert name in refused(save)
        count += 1
    path.write_bytes(whole)
    assert Checkpoint(save).state["epoch"] == 7
    assert count > 100


def test_files_that_change_places(save: Path) -> None:
    for a, b in [
        ("model.safetensors", "raw.safetensors"),
        ("state.pt", "model.safetensors"),
        ("manifest.json", "state.pt"),
    ]:
        for first, second in ((a, b), (b, a)):
            (save / first).rename(save / "aside")
            (save / second).rename(save / first)
            (save / "aside").rename(save / second)
            if first == a:
                refused(save)
    assert Checkpoint(save)


@pytest.mark.parametrize("name", FILES)
def test_files_of_another_save(save: Path, name: str) -> None:
    shutil.copy(save.parent / "000000-step-00000000" / name, save / name)
    refused(save)


def test_saves_that_change_names(save: Path) -> None:
    older = save.parent / "000000-step-00000000"
    shutil.rmtree(save)
    older.rename(save)
    assert "found the manifest of 000000-step-00000000" in refused(save)
    save.rename(save.with_name("000009-step-00000000"))
    refused(save.with_name("000009-step-00000000"))


@pytest.mark.parametrize("name", FILES)
def test_missing_extra_and_strange_files(save: Path, name: str, tmp_path: Path) -> None:
    whole = (save / name).read_bytes()
    (save / name).unlink()
    refused(save)
    (save / name).mkdir()
    refused(save)
    (save / name).rmdir()
    (tmp_path / "elsewhere").write_bytes(whole)
    (save / name).symlink_to(tmp_path / "elsewhere")
    refused(save)
    (save / name).unlink()
    if hasattr(os, "mkfifo"):
        os.mkfifo(save / name)  # to open it would wait for ever
        refused(save)
        (save / name).unlink()
    (save / name).write_bytes(whole)
    (save / ".DS_Store").write_text("x")
    assert Checkpoint(save)
    (save / "extra").write_text("x")
    assert "expected ['manifest.json'" in refused(save)


def reseal(save: Path, edit: Callable[[dict[str, Any]], Any] = lambda manifest: None) -> None:
    """What an attacker does: all hashes fit again."""
    manifest = json.loads((save / "manifest.json").read_bytes())
    for name, entry in manifest["files"].items():
        data = (save / name).read_bytes()
        entry.update(bytes=len(data), hash=hashlib.sha256(data).hexdigest())
    edit(manifest)
    del manifest["sha256"]
    (save / "manifest.json").write_bytes(module._sealed(manifest))


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (lambda m: m.update(format=3), "format 3, expected 1 or 2"),
        (lambda m: m.update(save=5), "the manifest of 000005-step-00000007"),
        (lambda m: m.update(step="7"), "Unknown format code"),
        (lambda m: m.pop("step"), "KeyError: 'step'"),
        (lambda m: m.pop("best"), "KeyError: 'best'"),
        (lambda m: m.update(files=[]), "AttributeError"),
        (lambda m: m["files"].pop("state.pt"), "the files ["),
        (
            lambda m: m["files"].update({"../../x": {"bytes": 1, "algorithm": "sha256", "hash": ""}}),
            "the files ['../../x'",
        ),
        (lambda m: m["files"]["state.pt"].pop("hash"), "KeyError: 'hash'"),
        (lambda m: m["files"]["state.pt"].update(bytes="many"), "invalid literal"),
    ],
)
def test_a_manifest_that_is_sealed_and_wrong(save: Path, edit: Callable[[dict[str, Any]], Any], found: str) -> None:
    reseal(save, edit)
    assert f"{save / 'manifest.json'} is not what a save writes: found {found}" in refused(save)


def test_a_sealed_manifest_that_is_no_manifest(save: Path) -> None:
    for text in (
        b"{}",
        b"[" * 100_000,
        b'{\n "sha256": "' + b"0" * 64 + b'"}',
        b'{\n "sha256": "' + b"0" * 64 + b'"' + b"[" * 9999,
    ):
        digest = hashlib.sha256(text).hexdigest().encode()
        (save / "manifest.json").write_bytes(text[:14] + digest + text[78:] if len(text) > 78 else text)
        refused(save)


class Payload:
    """An object that a pickle calls a function for."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def payloads(marker: Path) -> Iterator[tuple[str, Any]]:
    yield "system", Payload(os.system, f"touch {marker}")
    yield "eval", Payload(eval, f"open({str(marker)!r}, 'w').close()")
    yield "exec", Payload(exec, f"open({str(marker)!r}, 'w').close()")
    yield "Popen", Payload(subprocess.Popen, ["touch", str(marker)])
    yield "torch.hub.load", Payload(torch.hub.load, str(marker.parent), "x", "local")
    yield "getattr", Payload(getattr, "text", "upper")
    yield "load", Payload(__import__("numpy").load, str(marker))


def spoiled_states(payload: Payload) -> Iterator[bytes]:
    for state in (payload, {"state": {"a": payload}, "model": {}}, {"state": {}, "model": {}, payload: 1}):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(state, file, _use_new_zipfile_serialization=zipped)
            yield file.getvalue()
    yield pickle.dumps(payload)


def test_a_payload_in_the_state_is_refused_named_and_never_run(save: Path, tmp_path: Path) -> None:
    named = 0
    for name, payload in payloads(tmp_path / "marker"):
        for data in spoiled_states(payload):
            (save / "state.pt").write_bytes(data)
            reseal(save)
            opened = Checkpoint(save)
            assert opened.weights().keys() == {"w", "b"}  # never looks there
            with pytest.raises(CheckpointError) as caught:
                opened.state  # noqa: B018
            message = str(caught.value)
            assert message.startswith(f"{save / 'state.pt'}: refused as untrusted: found ")
            named += f"{name}, expected tensors and plain values; nothing of it was run" in message
            assert "weights_only" not in message  # torch's own text advises to switch the check off
            assert not (tmp_path / "marker").exists()
    assert named == 7 * 6  # what plain pickle wrote is no file of torch at all


def test_a_payload_in_the_other_files(save: Path, tmp_path: Path) -> None:
    whole = {name: (save / name).read_bytes() for name in FILES}
    for _, payload in payloads(tmp_path / "marker"):
        for data in spoiled_states(payload):
            for name, read in (("model", Checkpoint.weights), ("raw", Checkpoint.raw)):
                (save / f"{name}.safetensors").write_bytes(data)
                reseal(save)
                with pytest.raises(CheckpointError, match=rf"{name}\.safetensors is not what a save writes"):
                    read(Checkpoint(save))
                (save / f"{name}.safetensors").write_bytes(whole[f"{name}.safetensors"])
            (save / "manifest.json").write_bytes(data)
            refused(save)
            (save / "manifest.json").write_bytes(whole["manifest.json"])
            assert not (tmp_path / "marker").exists()


def test_the_payloads_would_work(tmp_path: Path) -> None:
    """Else the tests above show nothing."""
    for name, payload in payloads(tmp_path / "marker"):
        if name in ("system", "eval", "exec"):
            pickle.loads(pickle.dumps(payload))
            (tmp_path / "marker").unlink()


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"PK\3\4" + b"\0" * 100, b"\x80\x02}q\0.", b"\x80\x02N.", pickle.dumps({"state": 1, "model": {}})],
)
def test_a_state_that_is_no_state(save: Path, data: bytes) -> None:
    (save / "state.pt").write_bytes(data)
    reseal(save)
    with pytest.raises(CheckpointError, match=r"state\.pt: refused as untrusted: found "):
        Checkpoint(save).state  # noqa: B018


def header(text: str, data: bytes = b"") -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode() + data


PLAIN = '{"__metadata__": {"aliases": "{}", "elsewhere": "[]"}, '


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        header("{}"),
        header("[" * 5000),
        header('{"__metadata__": {"aliases": "{}"}}'),
        header('{"__metadata__": {"aliases": "{\\"a\\": \\"b\\"}", "elsewhere": "[]"}}'),
        header('{"__metadata__": {"aliases": "[]", "elsewhere": "[\\"nowhere\\"]"}}'),
        header('{"__metadata__": {"aliases": "[]", "elsewhere": "5"}}'),
        header(PLAIN + '"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}'),
        header(PLAIN + '"w": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}'),
    ],
)
def test_weights_that_are_no_weights(save: Path, data: bytes) -> None:
    (save / "model.safetensors").write_bytes(data)
    reseal(save)
    with pytest.raises(CheckpointError, match=r"model\.safetensors is not what a save writes: found "):
        Checkpoint(save).weights()


@pytest.mark.parametrize("kind", ["model", "raw"])
def test_weights_may_lie_in_several_files(kind: str, save: Path) -> None:
    opened = Checkpoint(save)
    before = opened.weights() if kind == "model" else opened.raw()
    assert before is not None
    with safe_open(save / f"{kind}.safetensors", "pt") as file:
        metadata = file.metadata()
    shards = [f"{kind}-{number:05}-of-{len(before):05}.safetensors" for number in range(1, len(before) + 1)]
    for shard, (name, tensor) in zip(shards, before.items(), strict=True):
        save_file({name: tensor}, save / shard, metadata)
    (save / f"{kind}.safetensors").unlink()
    manifest = json.loads((save / "manifest.json").read_bytes())
    manifest["weights" if kind == "model" else "raw"] = shards
    entry = manifest["files"].pop(f"{kind}.safetensors")
    manifest["files"] |= {shard: dict(entry) for shard in shards}
    (save / "manifest.json").write_text(json.dumps(manifest))
    reseal(save)
    found = Checkpoint(save).weights() if kind == "model" else Checkpoint(save).raw()
    assert found is not None and found.keys() == before.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in before.items())
    (save / shards[-1]).unlink()
    assert shards[-1] in refused(save)


def test_what_was_verified_is_what_is_parsed(save: Path) -> None:
    opened = Checkpoint(save)
    expected = Checkpoint(save).weights()["w"]
    shutil.rmtree(save)
    assert torch.equal(opened.weights()["w"], expected)
    assert opened.raw() is not None
    assert opened.state["epoch"] == 7
    assert opened.state is opened.state


def test_a_state_is_an_ordinary_zip_of_stored_files(save: Path) -> None:
    """So that a save can be looked into by other tools, in years."""
    with zipfile.ZipFile(save / "state.pt") as archive:
        assert archive.testzip() is None
