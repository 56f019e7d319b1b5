"""The operations of a forward pass and how they hang together."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.model_summary import GraphNode, calls_of, trace


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.inner(x)) + x


def traced(name: str) -> list[GraphNode]:
    model = Residual()
    with calls_of({name: model}) as calls:
        model(torch.rand(2, 4))
    return trace(model, calls[name], name)


def test_a_layer_that_is_called_twice_and_a_way_around_it() -> None:
    nodes = {node.name: node for node in traced("model")}
    assert nodes["input"].shape == (2, 4)
    assert nodes["model/inner/0/weight"].op == "Parameter"
    assert nodes["model/inner/0/mm"].inputs == ["input", "model/inner/0/t"]
    assert nodes["model/inner/1/relu_"].inputs == ["model/inner/0/mm"]
    assert nodes["model/inner/0/mm_2"].inputs == ["model/inner/1/relu_", "model/inner/0/t_2"]
    assert nodes["model/add"].inputs == ["model/inner/1/relu__2", "input"]
    assert [name for name, node in nodes.items() if set(node.inputs) - nodes.keys()] == []


def test_models_beside_each_other_share_no_name() -> None:
    names = [node.name for node in traced("generator") + traced("critic")]
    assert len(set(names)) == len(names)
