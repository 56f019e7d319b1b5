"""Inputs that come from no dataset."""

from __future__ import annotations

import numpy as np
import torch

from base.config.keys import DataConfig
from data_loader.samples import EvalTransforms
from tests.data_loader.toy_sets import components


def test_transforms_of_every_kind_treat_an_input_that_comes_from_nowhere() -> None:
    steps = components("jitter", ("RandomCrop", {"size": 4}), "ToFloat")
    data = DataConfig.model_validate({"train": {"type": "ToyImages"}, "transform": {"eval": steps}})
    first, again = (EvalTransforms(data, {})(np.ones((1, 8, 8), dtype=np.uint8)) for _ in range(2))
    assert first.shape == (1, 4, 4) and torch.equal(first, again)
