"""Components of torch, torchvision and torchmetrics, by the names that a config may use."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


def _classes(module: Any, parent: type, *, without: tuple[str, ...] = ()) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, parent)
        and value is not parent
        and not name.startswith("_")
        and name not in without
    }


def torch_losses() -> Mapping[str, Any]:
    """The modules that are defined in torch.nn's loss file."""
    from torch import nn

    return {n: c for n, c in _classes(nn, nn.Module).items() if c.__module__ == "torch.nn.modules.loss"}


def torch_optimizers() -> Mapping[str, Any]:
    from torch import optim

    return _classes(optim, optim.Optimizer)


def needs_closure(optimizer: Any) -> bool:
    """True for an optimizer class whose `step` cannot be called without arguments, such as LBFGS."""
    step = getattr(optimizer, "step", None)
    if step is None:
        return False
    by_name = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    asked = list(inspect.signature(step).parameters.values())[1:]
    return any(parameter.default is parameter.empty and parameter.kind not in by_name for parameter in asked)


def torch_schedulers() -> Mapping[str, Any]:
    """All schedulers, except those that take other schedulers as arguments: a chain is a list in the config."""
    from torch.optim import lr_scheduler

    return _classes(lr_scheduler, lr_scheduler.LRScheduler, without=("SequentialLR", "ChainedScheduler"))


def torch_samplers() -> Mapping[str, Any]:
    from torch.utils import data

    return _classes(data, data.Sampler, without=("DistributedSampler",))


def torchvision_models() -> Mapping[str, Any]:
    from torchvision import models

    return {name: _without_weights(models.get_model_builder(name)) for name in models.list_models()}


def _without_weights(builder: Callable[..., Any]) -> Callable[..., Any]:
    """The builder without `weights` and `progress`, because torchvision unpickles weights. If `in_channels` is not 3,
    the first convolution is replaced by one with that many channels."""

    @functools.wraps(builder)
    def build(in_channels: int = 3, **kwargs: Any) -> Any:
        model = builder(weights=None, progress=False, **kwargs)
        return model if in_channels == 3 else _with_channels(model, in_channels)

    signature = inspect.signature(builder)
    hidden = {name for name in signature.parameters if name.startswith("weights") or name == "progress"}
    rest = [p for name, p in signature.parameters.items() if name not in hidden]
    channels = inspect.Parameter("in_channels", inspect.Parameter.KEYWORD_ONLY, default=3, annotation=int)
    at = next((i for i, p in enumerate(rest) if p.kind is p.VAR_KEYWORD), len(rest))
    build.__signature__ = signature.replace(parameters=[*rest[:at], channels, *rest[at:]])  # type: ignore[attr-defined]
    return build


def _with_channels(model: Any, channels: int) -> Any:
    """ValueError if the model does not start with a convolution of three channels."""
    from torch import nn

    name, first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), ("", None))
    if first is None or first.in_channels != 3 or channels < 1:
        raise ValueError(f"in_channels: {channels}: the model does not start with a convolution that could be replaced")
    options = {key: getattr(first, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    model.set_submodule(name, nn.Conv2d(channels, first.out_channels, bias=first.bias is not None, **options))
    return model


def torchvision_datasets() -> Mapping[str, Any]:
    from torchvision import datasets

    return _classes(datasets, datasets.VisionDataset)


def torchvision_transforms() -> Mapping[str, Any]:
    from torchvision.transforms import v2

    return _classes(v2, v2.Transform)


def torchmetrics_metrics() -> Mapping[str, Any]:
    import torchmetrics

    return _classes(torchmetrics, torchmetrics.Metric, without=("MetricCollection",))
