"""Choosing a device by name, and moving batches of any shape."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from utils.batches import to_device
from utils.device import select_device, take_step

Pair = namedtuple("Pair", "left right")


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch)
    assert select_device("auto") == torch.device("cpu")
    pretend(monkeypatch, mps=True)
    assert select_device("auto") == torch.device("mps")
    pretend(monkeypatch, cuda=2, mps=True)
    assert select_device("auto") == torch.device("cuda")


def test_a_device_is_taken_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    assert select_device("cuda:1") == torch.device("cuda:1")
    assert select_device("cuda") == torch.device("cuda")
    assert select_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps", "gpu"])
def test_a_missing_device_is_refused_with_what_there_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    pretend(monkeypatch)
    with pytest.raises(ValueError, match=f"device '{name}' is not on this machine; there is: cpu"):
        select_device(name)


def test_a_missing_second_gpu_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    with pytest.raises(ValueError, match="'cuda:2' is not on this machine; there is: cuda:0, cuda:1, cpu"):
        select_device("cuda:2")


def test_every_tensor_of_a_batch_is_moved_and_everything_else_stays_as_it_is() -> None:
    text, number = "words", object()
    batch = (
        torch.zeros(2),
        {"a": [torch.ones(1), text], "b": Pair(torch.ones(3), number)},
        OrderedDict(x=torch.zeros(1)),
        None,
        defaultdict(list, x=torch.zeros(1)),
        pack_sequence([torch.zeros(2)]),
    )
    moved = to_device(batch, torch.device("meta"))
    assert type(moved) is tuple and moved[0].is_meta and moved[3] is None
    assert type(moved[1]) is dict and moved[1]["a"][0].is_meta and moved[1]["a"][1] is text
    assert type(moved[1]["b"]) is Pair and moved[1]["b"].left.is_meta and moved[1]["b"].right is number
    assert type(moved[2]) is OrderedDict and moved[2]["x"].is_meta
    assert type(moved[4]) is defaultdict and moved[4]["x"].is_meta and not batch[4]["x"].is_meta
    assert moved[5].data.is_meta


def test_a_step_is_that_of_the_optimizer_with_its_hooks_schedules_and_traces(recwarn: pytest.WarningsRecorder) -> None:
    def parameter_after(step: Any, prepare: Any = lambda optimizer: None) -> tuple[torch.Tensor, Any]:
        parameter = torch.nn.Parameter(torch.ones(3))
        optimizer = torch.optim.Adam([parameter], lr=0.1)
        prepare(optimizer)
        parameter.grad = torch.arange(3.0)
        step(optimizer)
        return parameter.detach(), optimizer

    plain, _ = parameter_after(lambda optimizer: optimizer.step())
    assert torch.equal(parameter_after(take_step)[0], plain)
    calls: list[str] = []
    hooked = lambda optimizer: optimizer.register_step_pre_hook(lambda *_: calls.append("hook"))  # noqa: E731
    assert torch.equal(parameter_after(take_step, hooked)[0], plain) and calls == ["hook"]
    schedules: list[Any] = []
    scheduled = lambda optimizer: schedules.append(torch.optim.lr_scheduler.StepLR(optimizer, 1))  # noqa: E731
    assert torch.equal(parameter_after(take_step, scheduled)[0], plain)
    schedules[0].step()  # warns where it has seen no step
    assert not recwarn.list
    with torch.profiler.profile() as trace:
        parameter_after(take_step)
    assert any(event.key == "Optimizer.step#Adam.step" for event in trace.key_averages())
