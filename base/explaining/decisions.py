"""What the program decides by itself, with the reason in words: device, precision, memory, fused kernels."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from base.config import Config
from base.config.keys import OptimizerConfig
from base.config.torch_facts import usual_unit
from base.errors import ConfigError, UserError
from base.registry import DATASETS

if TYPE_CHECKING:
    from base.build import Builder


def decisions(config: Config) -> tuple[dict[str, str], Mapping[str, Any]]:
    """Each decision in words, and the facts as far as they are known. Data is read if it is there, never fetched."""
    from base.build import Builder

    settings = config.settings
    found = {"precision": _precision(settings.trainer.precision)}
    for link in (link for chain in settings.schedules.values() for link in chain):
        if link.every is None:
            found[link.type] = f"steps every {usual_unit(link.type)}: the usual way of its kind"
    try:
        builder = Builder(_without_fetching(config))
    except UserError as error:
        first = str(error).splitlines()[0].removesuffix(", or set data.offline: synthetic to go without")
        known = {} if isinstance(error, ConfigError) else {"device": _device(settings.device)}
        unless = "synthetic unless it can be fetched" if settings.data.offline == "synthetic" else "not known"
        return known | found | {"data": f"{unless}: {first}"}, {}
    found = {"device": _device(settings.device)} | found
    for name, optimizer in settings.optimizers.items():
        found[settings.place("optimizer", name).replace("optimizer", "fused", 1)] = _fused(optimizer, builder)
    found["data"] = builder.data.decisions["data"]
    for label, decided in builder.data.decisions["in_memory"].items():
        found[f"in memory, {label}"] = f"{'yes' if decided['in_memory'] else 'no'}: {decided['reason']}"
    for label, decided in builder.data.decisions["on_device"].items():
        found[f"on device, {label}"] = f"{'yes' if decided['on_device'] else 'no'}: {decided['reason']}"
    facts = dict(builder.facts)
    for name in builder.data.facts:
        try:
            facts[name] = builder.data.facts[name]
        except (UserError, TypeError, ValueError, KeyError):
            continue
    return found, facts


def _device(asked: str) -> str:
    from utils.device import available_devices, select_device

    if asked != "auto":
        return f"{asked}: the config says so"
    chosen, present = select_device(asked), ", ".join(available_devices())
    return f"{chosen}: auto takes the first of cuda, mps, cpu, and there is {present}"


def _fused(optimizer: OptimizerConfig, builder: Builder) -> str:
    if optimizer.fused is not None:
        return f"{str(optimizer.fused).lower()}: the config says so"
    kind, device = optimizer.type, builder.device.type
    if builder.fused(optimizer):
        return f"true: one kernel for all parameters makes {kind} faster on {device}, if its parameters allow it"
    return f"false: {kind} gains nothing from it on {device}, and its bits would differ"


def _precision(mode: str) -> str:
    why = {
        "fp32": "full precision throughout",
        "bf16": "the forward pass in bfloat16 under autocast; weights stay float32, no loss scaling is needed",
        "fp16": "the forward pass in float16 under autocast; weights stay float32, the loss is scaled",
    }
    return f"{mode}: {why[mode]}"


def _without_fetching(config: Config) -> Config:
    """The same config with data sets that neither download nor draw stand-ins."""
    values = config.to_dict()
    values["data"]["offline"] = "error"
    for component in _data_sets(values["data"]):
        if "download" in inspect.signature(DATASETS.get(component["type"])).parameters:
            component["args"]["download"] = False
    return Config.from_dict(values, config.source, plugins=config.settings.plugins)


def _data_sets(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for part in (data["train"], data["valid"], data["test"]):
        for one in part.values() if isinstance(part, dict) and "type" not in part else [part]:
            if isinstance(one, dict):
                found.append(one)
    return found
