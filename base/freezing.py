"""Parts of a model that do not learn, for good or up to an epoch. What is frozen is a function of the config and the
epoch, so there is nothing to save.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from base.param_groups import matches


class Freezing:
    """The parameters that one of `patterns` is found in need no gradients before the epoch `until` (None: ever), and
    every module that has no others stays in eval mode: BatchNorm keeps its statistics, Dropout lets everything pass.
    `whole`: so does all of a model, whose parameters need no gradients anyway.
    """

    def __init__(
        self, model: nn.Module, patterns: Sequence[str] = (), until: int | None = None, *, whole: bool = False
    ) -> None:
        self.until = until
        learns = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.parameters = [p for name, p in learns if any(matches(model, name, pattern) for pattern in patterns)]
        frozen = set(self.parameters)
        self.modules = [model] if whole else [module for module in model.modules() if _is_within(module, frozen)]

    def hold(self, epoch: int) -> None:
        """After the model was put in train mode."""
        learns = self.until is not None and epoch >= self.until
        for parameter in self.parameters:
            parameter.requires_grad_(learns)
        for module in () if learns else self.modules:
            module.eval()


@contextmanager
def without_gradients(model: nn.Module) -> Iterator[None]:
    """For a while none of the parameters asks for gradients; afterwards those do that did before, and no others."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


def _is_within(module: nn.Module, frozen: set[nn.Parameter]) -> bool:
    own = [p for p in module.parameters() if p.requires_grad]
    return bool(own) and frozen.issuperset(own)


def set_mode(models: Mapping[str, nn.Module], freezing: Mapping[str, Freezing], training: bool, epoch: int) -> None:
    """Train mode, but for what is frozen in this epoch, or eval mode."""
    for name, model in models.items():
        model.train(training)
        if training and name in freezing:
            freezing[name].hold(epoch)
