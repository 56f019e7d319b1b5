"""Inputs from outside the data sets: what a run's model takes is noted when it begins, and made of new ones later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from base.config.arguments import build
from base.config.keys import DataConfig
from base.errors import DataError
from base.registry import LOADERS, TRANSFORMS
from data_loader.pipeline import Pipeline, SampleError, as_tensor
from data_loader.sample_parts import Places, get_part
from data_loader.samples import Samples, words


def note_inputs(samples: Samples, read: list[Any]) -> dict[str, Any]:
    """What inputs are before and after the transforms, as plain values; empty if they end as no tensor. `read` is a
    list of one sample.

    {"given": {"mode": "RGB"} | {"dtype": "uint8", "shape": [1, 28, 28]}, "taken": [1, 28, 28]}
    """
    try:
        given, taken = (_input_of(samples.places, sample) for sample in (*read, *samples.transformed(read, 0, 0)))
    except ValueError:  # where the input is, only the trainer knows
        return {}
    if not isinstance(taken, Tensor):
        return {}
    if hasattr(given, "getbands"):
        return {"given": {"mode": given.mode}, "taken": list(taken.shape)}
    tensor = as_tensor(given)
    dtype = str(tensor.dtype).removeprefix("torch.")
    return {"given": {"dtype": dtype, "shape": list(tensor.shape)}, "taken": list(taken.shape)}


def _input_of(places: Places, sample: Any) -> Any:
    return get_part(sample, places.of_input(sample))


@LOADERS.register
class EvalTransforms:
    """The transforms of `data.transform.eval` without a data set. `facts` are those that their arguments name."""

    def __init__(self, data: DataConfig, facts: Mapping[str, Any]) -> None:
        built = [build(TRANSFORMS, component, facts) for component in data.transform.eval]
        self.pipeline = Pipeline(built, seed=0)

    def __call__(self, sample: Any) -> Tensor:
        """The input (...) of one sample, as the model takes it without the batch. DataError if a transform fails."""
        try:
            given = sample if hasattr(sample, "getbands") else as_tensor(sample)
            return as_tensor(self.pipeline.on_samples([given], 0, first=0)[0])
        except SampleError as failed:
            raise DataError(f"{failed.step} fails: {words(failed.error)}") from failed.error
