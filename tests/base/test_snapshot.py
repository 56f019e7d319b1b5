"""What a save takes: any state_dict and any plain state come back bit-equal; what could not come back is refused."""

from __future__ import annotations

import enum
import io
import json
import struct
from collections import Counter, OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn

from base.checkpoint.format import Checkpoint
from base.checkpoint.snapshot import SAFETENSORS, Buffers
from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError


def round_trip(folder: Path, weights: Any, state: Any = None, raw: Any = None) -> Checkpoint:
    store = CheckpointStore(folder / "checkpoints")
    store.save(weights, state or {}, {"step": 0}, raw=raw)
    store.join()
    return store.load()


def same_bits(a: Tensor, b: Tensor) -> bool:
    a, b = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(a, b)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 5)
        self.decoder = nn.Linear(5, 7)
        self.decoder.weight = self.embedding.weight
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.steps = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.steps = state["steps"]


def test_tied_weights_and_extra_state_go_through_a_strict_load(tmp_path: Path) -> None:
    model, other = Tied(), Tied()
    model.steps = 42
    weights = round_trip(tmp_path, model.state_dict()).weights()
    assert weights["embedding.weight"] is weights["decoder.weight"]
    assert other.load_state_dict(weights, strict=True)
    assert same_bits(other.embedding.weight, model.embedding.weight)
    assert other.decoder.weight is other.embedding.weight
    assert other.steps == 42


def test_the_file_of_weights_is_read_by_its_own_library(tmp_path: Path) -> None:
    odd = torch.tensor([True, False, True])
    weights = {
        "odd": odd,
        "w": torch.randn(2, 3),
        "tied": None,
        "half": torch.randn(5).half(),
        "d": torch.randn(3).double(),
    }
    weights["tied"] = weights["w"]
    saved = round_trip(tmp_path, weights)
    read = load_file(saved.path / "model.safetensors")
    assert read.keys() == {"odd", "w", "half", "d"}
    for name, tensor in read.items():
        assert same_bits(tensor, weights[name])
    data = (saved.path / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    assert start % 8 == 0
    for name, tensor in read.items():  # fit to be mapped
        assert header[name]["data_offsets"][0] % tensor.itemsize == 0


@pytest.mark.parametrize("dtype", [*SAFETENSORS, torch.complex128, torch.float8_e8m0fnu], ids=str)
def test_every_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    raw = torch.arange(1, 65, dtype=torch.uint8)
    value = raw.bool() if dtype is torch.bool else raw.view(dtype)
    weights = {"many": value, "scalar": value[0].clone(), "none": value[:0], "none2": value[:0].reshape(0, 3)}
    loaded = round_trip(tmp_path, weights).weights()
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        assert loaded[name].dtype == dtype
        assert loaded[name].shape == tensor.shape
        assert same_bits(loaded[name], tensor)


def test_strides_and_shared_memory(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(2, 3, 4)
    weights = {
        "transposed": base.transpose(0, 2),
        "whole": base,
        "view of other shape": base.view(6, 4),
        "part": base[1],
        "expanded": torch.ones(3).expand(2, 3),
        "the same view": base.transpose(0, 2),
        "conjugate": torch.tensor([1 + 2j]).conj(),
    }
    loaded = round_trip(tmp_path, weights).weights()
    for name, tensor in weights.items():
        assert torch.equal(loaded[name], tensor), name
    assert loaded["the same view"] is loaded["transposed"]
    loaded["whole"].zero_()
    assert torch.equal(loaded["part"], base[1])


def test_a_state_keeps_its_layout(tmp_path: Path) -> None:
    """An optimizer's tensors follow its parameters' memory format; kernels ask for that."""
    moment = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    state = {"moment": moment, "parameter": nn.Parameter(torch.ones(2))}
    loaded = round_trip(tmp_path, {}, state).state
    assert loaded["moment"].stride() == moment.stride()
    assert torch.equal(loaded["moment"], moment)
    assert type(loaded["parameter"]) is Tensor


def test_an_optimizer_and_schedulers_go_through(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 2, 5])
    for _ in range(3):
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        schedule.step()
    state = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    loaded = round_trip(tmp_path, model.state_dict(), state).state
    assert loaded["schedule"] == state["schedule"]
    assert type(loaded["schedule"]["milestones"]) is Counter
    assert loaded["optimizer"]["param_groups"] == state["optimizer"]["param_groups"]
    for key, value in state["optimizer"]["state"][0].items():
        assert same_bits(loaded["optimizer"]["state"][0][key], value)


def test_raw_weights_beside_averaged_ones(tmp_path: Path) -> None:
    saved = round_trip(tmp_path, {"w": torch.ones(2)}, raw={"w": torch.zeros(2), "extra": 5})
    assert torch.equal(saved.weights()["w"], torch.ones(2))
    raw = saved.raw()
    assert raw is not None
    assert torch.equal(raw["w"], torch.zeros(2))
    assert raw["extra"] == 5


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**1999), 2**1999)
    | st.floats(allow_nan=False)
    | st.complex_numbers(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.sampled_from([torch.float32, torch.device("cpu"), torch.Size([1, 2])]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(
            st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False), inner, max_size=4
        )
        | st.dictionaries(st.text(), inner, max_size=3).map(OrderedDict)
        | st.sets(st.integers())
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(plain_values)
def test_what_is_taken_is_what_a_safe_load_gives_back(value: Any) -> None:
    taken = Buffers().take({}, {"value": value}, None).state
    file = io.BytesIO()
    torch.save(taken, file)
    loaded = torch.load(io.BytesIO(file.getvalue()), weights_only=True)["value"]
    assert loaded == value
    assert type(loaded) is type(value)


class Mode(enum.IntEnum):
    ONE = 1


class Sub(Tensor):
    pass


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.float64(0.5), "numpy.float64"),
        (np.ones(2), "numpy.ndarray"),
        (Mode.ONE, "test_snapshot.Mode"),
        (Path("x"), "pathlib."),
        (b"x", "bytes"),
        (defaultdict(int), "collections.defaultdict"),
        (print, "builtin_function_or_method"),
        (slice(1), "slice"),
        (1 << 3000, "int"),
        ({(1, 2): 3}, "dict with the key (1, 2)"),
        (torch.ones(2).to_sparse(), "Tensor (torch.sparse_coo, on cpu)"),
        (torch.ones(2, device="meta"), "Tensor (torch.strided, on meta)"),
        (torch.ones(2).as_subclass(Sub), "Sub (torch.strided, on cpu)"),
        (nn.LazyLinear(2).weight, "UninitializedParameter"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_could_not_be_read_back_is_refused_and_named(tmp_path: Path, value: Any, found: str) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    with pytest.raises(CheckpointError) as caught:
        store.save({}, {"metrics": {"auc": [0, value]}}, {"step": 0})
    assert str(caught.value).startswith("state['metrics']['auc'][1] cannot be saved: found ")
    assert found in str(caught.value)
    assert "expected" in str(caught.value)
    with pytest.raises(CheckpointError, match=r"^weights\['a'\] cannot be saved"):
        store.save({"a": value}, {}, {"step": 0})
    assert not store.folder.exists()


def test_buffers_are_used_again_until_a_shape_changes() -> None:
    buffers = Buffers()

    def addresses(length: int) -> list[int]:
        taken = buffers.take({"w": torch.ones(length)}, {"s": [torch.zeros(4)]}, None)
        assert taken.bytes == 4 * length + 16
        assert torch.equal(taken.model.tensors["w"], torch.ones(length))
        return [taken.model.tensors["w"].data_ptr(), taken.state["s"][0].data_ptr()]

    first = addresses(1000)
    assert addresses(1000) == first
    assert addresses(5000)[1] == first[1]


def test_nan_payloads_survive(tmp_path: Path) -> None:
    pattern = torch.frombuffer(bytearray(struct.pack("<I", 0x7FC12345)), dtype=torch.float32)
    assert same_bits(round_trip(tmp_path, {"w": pattern}).weights()["w"], pattern)
