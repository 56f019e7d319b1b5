"""Names that registries take over from libraries: lazily, and by kind; being importable makes nothing a component."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

Adoption = Callable[[], Mapping[str, Any]]


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
    """The modules of torch.nn that its loss file defines."""
    from torch import nn

    return {n: c for n, c in _classes(nn, nn.Module).items() if c.__module__ == "torch.nn.modules.loss"}


def torch_optimizers() -> Mapping[str, Any]:
    from torch import optim

    return _classes(optim, optim.Optimizer)


def torch_schedulers() -> Mapping[str, Any]:
    """Without those that take other schedulers as arguments: a chain is a list in the config."""
    from torch.optim import lr_scheduler

    return _classes(lr_scheduler, lr_scheduler.LRScheduler, without=("SequentialLR", "ChainedScheduler"))


def torch_samplers() -> Mapping[str, Any]:
    from torch.utils import data

    return _classes(data, data.Sampler, without=("DistributedSampler",))


def torchvision_models() -> Mapping[str, Any]:
    from torchvision import models

    return {name: _without_weights(models.get_model_builder(name)) for name in models.list_models()}


def _without_weights(builder: Callable[..., Any]) -> Callable[..., Any]:
    """The builder without `weights` and `progress`: its own way to load weights unpickles whatever it is given."""

    @functools.wraps(builder)
    def build(**kwargs: Any) -> Any:
        return builder(weights=None, progress=False, **kwargs)

    signature = inspect.signature(builder)
    hidden = {name for name in signature.parameters if name.startswith("weights") or name == "progress"}
    rest = [p for name, p in signature.parameters.items() if name not in hidden]
    build.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
    return build


def torchvision_datasets() -> Mapping[str, Any]:
    from torchvision import datasets

    return _classes(datasets, datasets.VisionDataset)


def torchvision_transforms() -> Mapping[str, Any]:
    from torchvision.transforms import v2

    return _classes(v2, v2.Transform)


def torchmetrics_metrics() -> Mapping[str, Any]:
    import torchmetrics

    return _classes(torchmetrics, torchmetrics.Metric, without=("MetricCollection",))
