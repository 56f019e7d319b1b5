"""docs/data.md: its configs are what the program takes, its names are all there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import yaml

from base.config.keys import DataConfig
from base.registry import DATASETS, SAMPLERS, TRANSFORMS
from data_loader.transforms import Transform

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "data.md").read_text(encoding="utf-8")


def test_the_configs_on_the_page_name_what_there_is_and_arguments_that_it_takes() -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        section = yaml.safe_load(block)["data"]
        bare = {key: {"type": one} for key, one in section.items() if isinstance(one, str)}
        if sampler := section.get("loader", {}).get("sampler"):
            bare["loader"] = {"sampler": {"type": sampler}}
            assert sampler in SAMPLERS
        data = DataConfig.model_validate({**section, **bare})
        for component in (data.train, *data.valid_sets.values()):
            inspect.signature(DATASETS.get(component.type)).bind_partial(**component.args)  # type: ignore[union-attr]


def test_the_page_lists_every_transform_for_whole_batches() -> None:
    (listed,) = re.findall(r"^For whole batches: (.*?);", PAGE, re.MULTILINE | re.DOTALL)
    ours = {
        name
        for name in TRANSFORMS.names()
        if inspect.isclass(one := TRANSFORMS.get(name))
        and issubclass(one, Transform)
        and one.__module__.startswith("data_loader.")
    }
    assert set(re.findall(r"`(\w+)`", listed)) == ours
