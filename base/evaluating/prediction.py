"""What a run's model says of files: `python test.py -r RUN --input shirt.png`. The run's data need not be there."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.config.arguments import build
from base.errors import CheckpointError, ConfigError, DataError
from base.evaluating.input_files import files_in, samples_of
from base.registry import LOADERS, MODELS
from base.run_folder import resolve_resume
from utils.shell import command

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from base.config import Config
    from base.saving.saved import Saved

BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """`source` is a file, or a row of one: `images.npz[3]`."""

    source: str
    output: tuple[float, ...]
    """What the model gave; of a classifier the probabilities of all classes."""
    top: tuple[tuple[str, float], ...]
    """Of a classifier the likeliest classes with their probabilities, else empty."""

    def __str__(self) -> str:
        if self.top:
            return "   ".join([self.source, *(f"{name} {probability:.4f}" for name, probability in self.top)])
        return "   ".join([self.source, *(f"{value:.6g}" for value in self.output)])


def predict(
    run: str | Path,
    inputs: str | Path,
    top_k: int = 3,
    overrides: Sequence[str] = (),
    *,
    plugins: Sequence[str] = (),
) -> Iterator[Prediction]:
    """What the best checkpoint of a run, else its last, or a checkpoint that is named says of each input.

    `inputs` is an image, an .npz file, or a folder of them. They go through the run's own `data.transform.eval`. An
    image is first turned into the kind of samples that the run was trained on: gray, RGB or RGBA, 8 bits a channel. Its
    size is changed by nothing but the transforms. DataError if a file cannot be read or does not fit.
    """
    from base.config import Config
    from base.saving.checkpoint import CheckpointStore

    folder, name = resolve_resume(run)
    config = Config.read(folder.path / "config.yaml", overrides, plugins=plugins, of_run=True)
    store = CheckpointStore(folder.checkpoints)
    return _predictions(config, store.load(name or ("best" if store.best() else "last")), Path(inputs), top_k)


def _predictions(config: Config, saved: Saved, inputs: Path, top_k: int) -> Iterator[Prediction]:
    from base.saving.inspection import check_info
    from utils.device import select_device
    from utils.precision import select_precision

    check_info(saved)
    known = saved.info["data"]
    if not known.get("input"):
        raise DataError(f"{saved.path}: the inputs of this run are neither images nor arrays: no file can be made one")
    try:
        device = select_device(config.settings.device)
    except ValueError as error:
        raise ConfigError(
            [config.fault("device", str(error), hint="device=cpu at the end of the command")], config.source
        ) from None
    model = _model(config, saved, known["facts"], device)
    prepare = LOADERS.get("EvalTransforms")(config.settings.data, known["facts"])
    precision = select_precision(config.settings.trainer.precision, device)
    waiting: list[tuple[str, Tensor]] = []
    for file in files_in(inputs):
        for source, sample in samples_of(file, known["input"]["given"]):
            waiting.append((source, _fitting(prepare, source, sample, known["input"]["taken"], config)))
            if len(waiting) == BATCH:
                yield from _say(model, precision, waiting, known, top_k)
                waiting = []
    yield from _say(model, precision, waiting, known, top_k)


def _model(config: Config, saved: Saved, facts: Mapping[str, Any], device: torch.device) -> nn.Module:
    from base.saving.state import load_saved

    components = config.settings.models
    if len(components) > 1:
        raise CheckpointError(
            f"{saved.path}: this run has {len(components)} models; a prediction is made by a single one"
        )
    ((name, component),) = components.items()
    try:
        model: nn.Module = build(MODELS, component, facts).to(device)
    except KeyError as error:
        raise CheckpointError(f"{saved.path}: the model asks for {error}, which is known in training alone") from None
    load_saved({name: model}, saved)
    return model.eval()


def _fitting(prepare: Any, source: str, sample: Any, taken: Sequence[int], config: Config) -> Tensor:
    """The transformed input, if it has the shape that the model was trained on."""
    try:
        input: Tensor = prepare(sample)
    except DataError as error:
        raise DataError(f"{source}: {error}") from None
    if list(input.shape) == list(taken):
        return input
    found, expected = ("x".join(map(str, shape)) for shape in (input.shape, taken))
    what = f"{source}: after data.transform.eval it is {found}, and the model takes {expected}"
    if len(taken) != 3 or input.shape[0] != taken[0]:
        raise DataError(what)
    resize = [{"type": "Resize", "args": {"size": list(taken[1:])}}, *config.to_dict()["data"]["transform"]["eval"]]
    raise DataError(f"{what}; resize the file, or add: {command(f'data.transform.eval={json.dumps(resize)}')}")


def _say(
    model: nn.Module, precision: Any, waiting: Sequence[tuple[str, Tensor]], known: Mapping[str, Any], top_k: int
) -> Iterator[Prediction]:
    import torch

    from utils.classification import probabilities

    if not waiting:
        return
    device = next(model.parameters()).device
    with torch.inference_mode(), precision.autocast():
        output = model(torch.stack([input for _, input in waiting]).to(device))
    if not isinstance(output, torch.Tensor) or output.dim() not in (1, 2):
        found = (
            f"a tensor of shape {tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        )
        raise DataError(f"the model gives {found}: a prediction can show one row of numbers for each input")
    output = output.float().cpu().reshape(len(waiting), -1)
    names = _class_names(known, output.shape[1])
    if names:
        output = probabilities(output)
    for (source, _), row in zip(waiting, output, strict=True):
        best = row.topk(min(top_k, len(names))) if names else None
        top = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
        yield Prediction(source, tuple(row.tolist()), tuple((names[i], p) for i, p in top))


def _class_names(known: Mapping[str, Any], count: int) -> list[str]:
    """Of a classifier of so many classes; empty if the run knows of no such classes."""
    if len(known["classes"]) == count:
        return list(known["classes"])
    return [str(i) for i in range(count)] if known["facts"].get("data.num_classes", math.nan) == count else []
