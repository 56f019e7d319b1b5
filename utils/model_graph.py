"""The operations of a model's forward pass as a graph, found without computing anything: see `utils.model_summary`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from utils.model_summary import Call, hollow_copy


@dataclass
class Node:
    name: str
    """`model/features/0/convolution`: the layers around it, outermost first."""
    op: str
    inputs: list[str] = field(default_factory=list)
    """Names of other nodes."""
    shape: tuple[int, ...] = ()
    """Of the first tensor that comes out."""


def trace(model: nn.Module, call: Call, name: str = "model") -> list[Node]:
    """Inputs, parameters and operations, in the order of their use. Raises what the model raises on the meta device."""
    hollow = hollow_copy(model)
    tracer = _Tracer(name, hollow)
    for leaf in tree_leaves(call):
        if isinstance(leaf, Tensor):
            tracer.add("input" if name == "model" else f"{name}_input", "Placeholder", [], leaf, scope="")
    with torch.no_grad(), tracer:
        hollow(*call[0], **call[1])
    used = {name for node in tracer.nodes for name in node.inputs}
    return [
        node for node in tracer.nodes if node.inputs or node.op in ("Placeholder", "Parameter") or node.name in used
    ]


class _Tracer(TorchDispatchMode):
    """Sees every operation and knows in which layer it is."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[Node] = []
        self._made: dict[int, str] = {}
        self._kept: list[Tensor] = []  # an id is a tensor's own as long as it lives
        self._names: Counter[str] = Counter()
        self._scopes: list[str] = []
        self._places = {
            id(tensor): "/".join((name, *path.split(".")))
            for path, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        for path, layer in model.named_modules():
            scope = "/".join((name, *path.split("."))) if path else name
            layer.register_forward_pre_hook(lambda *_, scope=scope: self._scopes.append(scope))
            layer.register_forward_hook(lambda *_: self._leave())

    def _leave(self) -> None:
        self._scopes.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = list(self._sources(args, kwargs))
        first = next((leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)), None)
        if first is not None:
            op = func.overloadpacket.__name__
            name = self.add(op, op, inputs, first, self._scopes[-1] if self._scopes else "")
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor):
                    self._made[id(leaf)] = name
                    self._kept.append(leaf)
        return output

    def _sources(self, *values: Any) -> Iterator[str]:
        for leaf in tree_leaves(values):
            if isinstance(leaf, Tensor):
                if id(leaf) not in self._made and id(leaf) in self._places:
                    place = self._places[id(leaf)]
                    self.nodes.append(Node(place, "Parameter", [], tuple(leaf.shape)))
                    self._made[id(leaf)] = place
                if id(leaf) in self._made:
                    yield self._made[id(leaf)]

    def add(self, name: str, op: str, inputs: list[str], output: Tensor, scope: str) -> str:
        place = f"{scope}/{name}".lstrip("/")
        self._names[place] += 1
        whole = place if self._names[place] == 1 else f"{place}_{self._names[place]}"
        self.nodes.append(Node(whole, op, inputs, tuple(output.shape)))
        self._made[id(output)] = whole
        self._kept.append(output)
        return whole
