"""Which parameters an optimizer is given, and in which groups."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from base.config.keys import GroupConfig

Learning = dict[nn.Parameter, tuple[str, nn.Module, str]]
"""By parameter its full name, the model it is of, and its name there."""


def matches(model: nn.Module, name: str, pattern: str, full_name: str = "") -> bool:
    """True if the pattern is found in a parameter's name, `features.1.weight`, or in that with its kind behind it,
    `features.1.weight BatchNorm2d.weight`: so `^(?!fc)` is no pattern of kinds."""
    owner, _, own = name.rpartition(".")
    full = full_name or name
    kind = f"{full} {type(model.get_submodule(owner)).__name__}.{own}"
    return bool(re.search(pattern, full) or re.search(pattern, kind))


def learning(models: Mapping[str, nn.Module], chosen: str | None = None) -> Learning:
    """Every parameter that needs gradients, once; its name is, of several models, behind the model's and a dot.

    `chosen` leaves those of the model of that name, or those that the pattern matches.
    """
    found: Learning = {}
    for model_name, model in models.items():
        for name, parameter in model.named_parameters():
            full = f"{model_name}.{name}" if len(models) > 1 else name
            wanted = model_name == chosen if chosen in models else not chosen or matches(model, name, chosen, full)
            if wanted and parameter.requires_grad and parameter not in found:
                found[parameter] = full, model, name
    return found


def grouped(
    parameters: Learning, groups: Sequence[GroupConfig], args: Mapping[str, Any], name: str
) -> list[dict[str, Any]]:
    """The groups as torch.optim takes them, those of the config first, then the rest; each parameter in the first that
    matches. `name` is the optimizer's where there are several. A group may come out empty.
    """
    found: list[dict[str, Any]] = []
    left = dict(parameters)
    for i, group in enumerate(groups):
        mine = [p for p, (full, model, own) in left.items() if matches(model, own, group.match, full)]
        left = {p: names for p, names in left.items() if p not in set(mine)}  # a list would compare the numbers
        options = {**group.args}
        if group.lr_scale != 1:
            options["lr"] = options.get("lr", args["lr"]) * group.lr_scale
        found.append({"params": mine, **options, "name": "_".join(filter(None, (name, group.name or str(i))))})
    rest = "_".join(filter(None, (name, "rest" if groups else "")))
    return [*found, *([{"params": list(left), **({"name": rest} if rest else {})}] if left else [])]
