"""What a model is made of, against counts done by hand; and that looking leaves no trace."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from utils.model_summary import calls_of, describe, summarize


class Net(nn.Module):
    """Calls one layer twice, shares a weight, and has a branch that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.square, self.tied = nn.Linear(8, 8), nn.Linear(8, 8)
        self.tied.weight = self.square.weight
        self.unused = nn.Linear(2, 2)
        self.unused.requires_grad_(False)

    def forward(self, image: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        hidden = self.norm(self.conv(image)).mean((2, 3))
        return {"out": self.tied(self.square(self.square(hidden))) * scale, "sum": hidden.sum(1)}


def test_shapes_parameters_and_operations() -> None:
    model = Net()
    with calls_of({"model": model}) as calls:
        model(torch.rand(5, 3, 6, 4), scale=2.0)
    summary = summarize(model, calls["model"])
    assert [(x.name, x.kind, x.parameters, x.output, x.flops) for x in summary.layers] == [
        ("", "Net", 0, "8, scalar", 0),
        ("conv", "Conv2d", 8 * 3 * 9, "8 x 6 x 4", 2 * 8 * 6 * 4 * 3 * 9),
        ("norm", "BatchNorm2d", 16, "8 x 6 x 4", 0),
        ("square", "Linear", 8 * 8 + 8, "8", 2 * 2 * 8 * 8),
        ("tied", "Linear", 8, "8", 2 * 8 * 8),
        ("unused", "Linear", 6, "", 0),
    ]
    assert (summary.trainable, summary.frozen, summary.buffers, summary.trouble) == (216 + 16 + 72 + 8, 6, 17, "")
    assert summary.flops == 10368 + 3 * 128


def test_looking_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    with calls_of({"model": model}) as calls:
        model(torch.rand(8, 4))
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    assert "trainable parameters" in describe({"model": model}, calls)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert not model._forward_pre_hooks and not model._forward_hooks


class Asks(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values * float(values.sum())


def test_a_model_that_asks_for_values_keeps_its_shapes_to_itself() -> None:
    model = Asks()
    with calls_of({"model": model}) as calls:
        model(torch.rand(2, 3))
    assert "shapes and FLOPs are not known: " in describe({"model": model}, calls)
    assert summarize(model, None).trouble == "the model itself was not called"
