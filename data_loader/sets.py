"""Opening the data sets that a config names; real ones, or, all together, their synthetic stand-ins."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from base.errors import DataError, UserError
from base.registry import DATASETS
from base.sections import Component, Data
from data_loader.images import FashionMNIST, MissingFiles

log = logging.getLogger(__name__)
REAL, SYNTHETIC = "real", "synthetic"


def test_components(data: Data) -> dict[str, Component]:
    """The test sets by name. `auto` is the training set's class with `train: false`, if it has such a parameter."""
    if data.test != "auto":
        return data.test_sets
    has_parts = "train" in inspect.signature(DATASETS.get(data.train.type)).parameters
    return data.test_sets if has_parts and data.train.args.get("train") is not False else {}


def open_sets(components: Mapping[str, Component], offline: str, kept: str | None = None) -> tuple[dict[str, Any], str]:
    """The data sets by label, and whether they are "real" or "synthetic".

    The verdict is one for all sets: where the files of one are missing and cannot be fetched, and `offline` allows it,
    SyntheticFashion stands in for every FashionMNIST. `kept` is the verdict of the run that is resumed. DataError if
    files are missing and nothing may stand in for them.
    """
    if kept != SYNTHETIC:
        try:
            return _open_all(components), _verdict(components)
        except MissingFiles as missing:
            if offline != SYNTHETIC:
                raise DataError(f"{missing}, or set data.offline: synthetic to try without") from missing
            if kept == REAL:
                raise DataError(f"{missing}; the run began on the real data and goes on with nothing else") from missing
            log.warning(
                "NO REAL DATA: %s. Training on SyntheticFashion: figures say nothing about the real set", missing
            )
    stand_ins = {label: _stand_in(component) for label, component in components.items()}
    return _open_all(stand_ins), SYNTHETIC


def _verdict(components: Mapping[str, Component]) -> str:
    return SYNTHETIC if any(component.type == "SyntheticFashion" for component in components.values()) else REAL


def _stand_in(component: Component) -> Component:
    if component.type == "SyntheticFashion":
        return component
    if DATASETS.get(component.type) is not FashionMNIST:
        raise DataError(f"data.offline: synthetic stands in for FashionMNIST only, not for {component.type}")
    args = {name: value for name, value in component.args.items() if name in ("root", "train")}
    return Component(type="SyntheticFashion", args=args)


def _open_all(components: Mapping[str, Component]) -> dict[str, Any]:
    return {label: _open(label, component) for label, component in components.items()}


def _open(label: str, component: Component) -> Any:
    parameters = inspect.signature(DATASETS.get(component.type)).parameters
    required = {name: None for name, p in parameters.items() if name in DATASETS.supplied and p.default is p.empty}
    try:
        return DATASETS.build(component, **required)
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        raise DataError(f"{component.type} (data.{label}) cannot be opened: {type(error).__name__}: {error}") from error
