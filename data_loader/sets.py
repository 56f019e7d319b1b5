"""Opening the data sets that a config names; real ones, or, all together, their synthetic stand-ins."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from base.config.arguments import build
from base.config.fields import Component
from base.config.keys import DataConfig
from base.errors import ConfigError, DataError, Fault, Origin, UserError
from base.registry import DATASETS
from base.users_code import users_frames
from data_loader.download import MissingFiles
from data_loader.images import FashionMNIST

log = logging.getLogger(__name__)
REAL, SYNTHETIC = "real", "synthetic"
SPLIT = "split"
"""A part that the loader of the training data sets aside itself."""
_WHOLE_IN_ORDER = {"shuffle": False, "validation_split": 0.0}
"""Arguments of a loader of test data."""


def test_components(data: DataConfig) -> dict[str, Component | str]:
    """The test sets by name. `auto` is the training set's class with `train: false`, `training: false` or `part: test`,
    if it takes that and its data is not that already; of a loader with `split_test` that part: SPLIT."""
    if data.test != "auto":
        return {**data.test_sets}
    if hasattr(DATASETS.get(data.train.type), "split_test"):
        return {"": SPLIT}
    parameters, args = inspect.signature(DATASETS.get(data.train.type)).parameters, data.train.args
    if "train" in parameters and args.get("train") is not False:
        other: dict[str, Any] = {"train": False}
    elif "training" in parameters and args.get("training") is not False:
        other = {"training": False}
        other |= {name: value for name, value in _WHOLE_IN_ORDER.items() if name in parameters}
    elif "part" in parameters and args.get("part", parameters["part"].default) == "train":
        other = {"part": "test"}
    else:
        return {}
    return {"": data.train.model_copy(update={"args": {**args, **other}})}


def open_sets(
    components: Mapping[str, Component], offline: str, kept: str | None = None, resumed: bool = False
) -> tuple[dict[str, Any], str]:
    """The data sets by label, and whether they are "real" or "synthetic".

    The verdict is one for all sets: where the files of one are missing and cannot be fetched, and `offline` allows it,
    SyntheticFashion stands in for every FashionMNIST. `kept` is the verdict of a run that is `resumed`. DataError if
    files are missing and nothing may stand in for them.
    """
    why = "as the run began"
    if resumed:
        components = {label: _only_read(component) for label, component in components.items()}
    if kept != SYNTHETIC or not any(_has_stand_in(component) for component in components.values()):
        try:
            return _open_all(components), _verdict(components)
        except MissingFiles as missing:
            if offline != SYNTHETIC:
                hint = ", or set data.offline: synthetic to go without" * all(map(_has_stand_in, components.values()))
                raise DataError(f"{missing}{hint}") from missing
            if kept == REAL:
                raise DataError(f"{missing}; the run began on the real data and goes on with nothing else") from missing
            why = str(missing)
    stand_ins = {label: _stand_in(component, why) for label, component in components.items()}
    if resumed:
        stand_ins = {label: _only_read(component) for label, component in stand_ins.items()}
    log.warning("SYNTHETIC DATA: SyntheticFashion stands in for FashionMNIST, scores mean nothing for it (%s)", why)
    return _open_all(stand_ins), SYNTHETIC


def _only_read(component: Component) -> Component:
    """For a run that is resumed or tested, which may be a stranger's: nothing is made in the folders that it names."""
    args = dict(component.args)
    if "download" in inspect.signature(DATASETS.get(component.type)).parameters:
        args["download"] = False
    if component.type == "SyntheticFashion" and not (Path(args.get("root") or ".") / "SyntheticFashion").is_dir():
        args.pop("root", None)
    return component.model_copy(update={"args": args})


def _verdict(components: Mapping[str, Component]) -> str:
    return SYNTHETIC if any(component.type == "SyntheticFashion" for component in components.values()) else REAL


def _has_stand_in(component: Component) -> bool:
    return DATASETS.get(component.type) is FashionMNIST


def _stand_in(component: Component, why: str) -> Component:
    if component.type == "SyntheticFashion":
        return component
    if not _has_stand_in(component):
        raise DataError(f"nothing stands in for {component.type} as SyntheticFashion does for FashionMNIST ({why})")
    args = {name: value for name, value in component.args.items() if name in ("root", "train")}
    return Component(type="SyntheticFashion", args=args)


def _open_all(components: Mapping[str, Component]) -> dict[str, Any]:
    return {label: _open(label, component) for label, component in components.items()}


def _open(label: str, component: Component) -> Any:
    target = DATASETS.get(component.type)
    parameters, supplied = inspect.signature(target).parameters, DATASETS.supplied_to(target)
    required = {name: None for name, p in parameters.items() if name in supplied and p.default is p.empty}
    try:
        dataset = build(DATASETS, component, **required)
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        raise DataError(f"{component.type} (data.{label}) cannot be opened: {type(error).__name__}: {error}") from error
    except (TypeError, ValueError) as error:
        if users_frames(error):
            raise
        key = f"data.{label.replace('_', '.', 1)}"
        told = f"{component.type} refuses this: {type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError([Fault(Origin("the config"), key, told)]) from error
    if not hasattr(dataset, "__iter__" if isinstance(dataset, IterableDataset | DataLoader) else "__getitem__"):
        needs = "it needs __len__ and __getitem__, or to be an IterableDataset with __iter__"
        raise DataError(f"{component.type} (data.{label}) is no data set: {needs}")
    return dataset
