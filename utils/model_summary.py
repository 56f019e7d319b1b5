"""Output shapes, parameters, FLOPs and the graph of a model, determined without computing anything.

Only the shapes of a call of the model are recorded. The call is repeated later with a copy of the model on the meta
device, which uses no memory and does not change the model, its buffers or the random generators.
"""

from __future__ import annotations

import copy
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments, with their tensors on the meta device."""


@dataclass
class Layer:
    name: str
    kind: str
    parameters: int
    """The number of its own parameters, without those of inner layers; shared parameters count once."""
    output: str = ""
    """The output shape of the layer's last call, without the batch dimension: `64 x 7 x 7`; empty if it was not
    called."""
    flops: int = 0
    """Its own FLOPs of a forward pass of one sample, for matrix products and convolutions; a multiply-add is two."""


@dataclass
class Summary:
    layers: list[Layer]
    trainable: int
    frozen: int
    buffers: int
    trouble: str = ""
    """Why shapes and FLOPs are unknown; empty if they are known."""

    @property
    def flops(self) -> int:
        return sum(layer.flops for layer in self.layers)


@contextmanager
def calls_of(models: Mapping[str, nn.Module]) -> Iterator[dict[str, Call]]:
    """Records the last call of each model inside the block, by name."""
    calls: dict[str, Call] = {}

    def keep(name: str) -> Any:
        return lambda model, args, kwargs: calls.update({name: tree_map(hollow_tensor, (args, kwargs))})

    with ExitStack() as stack:
        for name, model in models.items():
            stack.callback(model.register_forward_pre_hook(keep(name), with_kwargs=True).remove)
        yield calls


def hollow_tensor(value: Any) -> Any:
    return torch.empty_like(value, device="meta") if isinstance(value, Tensor) else value


def hollow_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules in eval mode, with parameters and buffers on the meta device. Hooks are left out, because
    they may refer to anything."""
    hooks = [value for m in model.modules() for name, value in vars(m).items() if name.endswith("_hooks")]
    replaced: dict[int, Any] = {id(value): OrderedDict() for value in hooks if isinstance(value, dict)}
    replaced |= {id(b): hollow_tensor(b) for b in model.buffers()}
    replaced |= {id(p): nn.Parameter(hollow_tensor(p), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, replaced).eval()


def summarize(model: nn.Module, call: Call | None) -> Summary:
    """`call` comes from `calls_of`; without it, or if calling the copy fails, shapes and FLOPs are unknown."""
    parameters, buffers = list(model.parameters()), list(model.buffers())
    summary = Summary(
        layers=_layers(model),
        trainable=sum(p.numel() for p in parameters if p.requires_grad),
        frozen=sum(p.numel() for p in parameters if not p.requires_grad),
        buffers=sum(b.numel() for b in buffers),
    )
    if call is None:
        summary.trouble = "the model itself was not called"
        return summary
    try:
        _call_hollow(hollow_copy(model), call, {layer.name: layer for layer in summary.layers})
    except Exception as error:  # a model may need values, which the meta device does not have
        summary.trouble = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return summary


def _layers(model: nn.Module) -> list[Layer]:
    seen: set[int] = set()
    layers = []
    for name, module in model.named_modules():
        own = {id(p): p.numel() for p in module.parameters(recurse=False) if id(p) not in seen}
        seen |= own.keys()
        layers.append(Layer(name, type(module).__name__, sum(own.values())))
    return layers


def _call_hollow(model: nn.Module, call: Call, layers: Mapping[str, Layer]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def note(layer: Layer) -> Any:
        return lambda module, inputs, output: setattr(layer, "output", shape_of(output))

    for name, module in model.named_modules():
        module.register_forward_hook(note(layers[name]))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(*call[0], **call[1])
    batch = next((len(leaf) for leaf in tree_leaves(call) if isinstance(leaf, Tensor) and leaf.dim()), 1) or 1
    root = type(model).__name__
    totals = {
        name: sum(counter.get_flop_counts().get(f"{root}.{name}" if name else root, {}).values()) for name in layers
    }
    for name, layer in layers.items():
        inner = sum(totals[child] for child in layers if child != name and _parent(child, layers) == name)
        layer.flops = (totals[name] - inner) // batch


def _parent(name: str, layers: Mapping[str, Layer]) -> str:
    """The closest enclosing layer; "" is the model."""
    while name:
        name = name.rpartition(".")[0]
        if name in layers:
            break
    return name


def shape_of(output: Any) -> str:
    """`64 x 7 x 7` for a tensor (B, 64, 7, 7), `scalar` for (B,); all shapes for several tensors in a tuple or dict."""
    shapes = [leaf.shape[1:] for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
    return ", ".join(" x ".join(map(str, shape)) or "scalar" for shape in shapes)


def describe(models: Mapping[str, nn.Module], calls: Mapping[str, Call]) -> str:
    """The summaries of all models, in Markdown."""
    return "\n\n".join(as_markdown(name, summarize(model, calls.get(name))) for name, model in models.items())


def as_markdown(title: str, summary: Summary) -> str:
    """A summary as a table with a line for each layer."""
    lines = [
        f"**{title}: {summary.trainable:,} trainable parameters**, {summary.frozen:,} frozen; "
        f"{summary.buffers:,} numbers in buffers; {summary.flops:,} FLOPs a sample, forward "
        "(matrix products, convolutions; a multiply-add is two)",
        "",
        "| layer | type | output of a sample | parameters | FLOPs |",
        "|---|---|---|---:|---:|",
    ]
    for layer in summary.layers:
        cells = (layer.name or "(whole)", layer.kind, layer.output, f"{layer.parameters:,}", f"{layer.flops:,}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, *[f"\nshapes and FLOPs are not known: {summary.trouble}"] * bool(summary.trouble)])


@dataclass
class GraphNode:
    name: str
    """`model/features/0/convolution`: the operation after its enclosing layers, outermost first."""
    op: str
    inputs: list[str] = field(default_factory=list)
    """Names of other nodes."""
    shape: tuple[int, ...] = ()
    """The shape of the first output tensor."""


def trace(model: nn.Module, call: Call, name: str = "model") -> list[GraphNode]:
    """Inputs, parameters and operations, in the order of their use. Raises the model's errors on the meta device."""
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
    """Records every operation and the layer that it belongs to."""

    def __init__(self, name: str, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.nodes: list[GraphNode] = []
        self._made: dict[int, str] = {}
        self._kept: list[Tensor] = []  # an id is unique only while its tensor is alive
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
                    self.nodes.append(GraphNode(place, "Parameter", [], tuple(leaf.shape)))
                    self._made[id(leaf)] = place
                if id(leaf) in self._made:
                    yield self._made[id(leaf)]

    def add(self, name: str, op: str, inputs: list[str], output: Tensor, scope: str) -> str:
        place = f"{scope}/{name}".lstrip("/")
        self._names[place] += 1
        whole = place if self._names[place] == 1 else f"{place}_{self._names[place]}"
        self.nodes.append(GraphNode(whole, op, inputs, tuple(output.shape)))
        self._made[id(output)] = whole
        self._kept.append(output)
        return whole
