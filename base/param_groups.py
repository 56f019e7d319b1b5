"""Which parameters an optimizer is given."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import nn

Named = list[tuple[str, nn.Parameter]]


def learning(models: Mapping[str, nn.Module], chosen: str | None = None) -> Named:
    """Every parameter that needs gradients, once, with its name: of several models behind the model's and a dot.

    `chosen` leaves those of the model of that name, or those whose name the pattern is found in.
    """
    several, found, seen = len(models) > 1, Named(), set[nn.Parameter]()
    for model_name, model in models.items():
        for name, parameter in model.named_parameters():
            name = f"{model_name}.{name}" if several else name
            wanted = chosen is None or (model_name == chosen if chosen in models else re.search(chosen, name))
            if wanted and parameter.requires_grad and parameter not in seen:
                found.append((name, parameter))
                seen.add(parameter)
    return found
