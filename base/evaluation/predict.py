"""Predicts image and .npz files with the model of a run; the training data is not needed."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from base.config.arguments import build
from base.errors import CheckpointError, ConfigError, DataError
from base.registry import LOADERS, MODELS
from base.runs.run_dir import resolve_resume
from utils.process import command

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from base.checkpoint.format import Checkpoint
    from base.config import Config
    from utils.classification import TaskReader

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""The PIL mode for a number of channels of 8 bits: gray, colour, colour with transparency."""
EIGHT_BITS = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")
SUFFIXES = (".npz", ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
"""The files of a folder that are predicted."""


def files_in(path: Path) -> list[Path]:
    """The file itself, or the images and .npz files of a folder, sorted by name."""
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder")
    if not path.is_dir():
        return [path]
    found = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in SUFFIXES and entry.is_file())
    if not found:
        raise DataError(f"{path}: there is no image and no .npz file in this folder ({', '.join(SUFFIXES)})")
    return found


def samples_of(file: Path, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Samples with their names. `given` describes the run's samples: a PIL `mode`, or `dtype` and `shape`."""
    if file.suffix.lower() == ".npz":
        yield from _rows(file, given)
    else:
        yield str(file), _image(file, given)


def _image(file: Path, given: Mapping[str, Any]) -> Any:
    """A PIL image or uint8 (C, H, W), as the run's datasets give it. Transparency is dropped, not blended."""
    from PIL import Image, UnidentifiedImageError

    mode = given.get("mode")
    if mode is None:
        shape, dtype = given["shape"], given["dtype"]
        mode = MODES.get(shape[0]) if len(shape) == 3 and dtype == "uint8" else None
    if mode not in MODES.values():
        kind = given.get("mode") or f"{given['dtype']} of shape {'x'.join(map(str, given['shape']))}"
        raise DataError(
            f"{file}: the run was trained on {kind}, which no image file is turned into; expected an .npz file"
        )
    try:
        with Image.open(file) as image:
            image.load()
    except UnidentifiedImageError:
        raise DataError(f"{file}: not an image, nor an .npz file") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file}: cannot be read: {error}") from None
    if image.mode not in EIGHT_BITS:
        raise DataError(f"{file}: its pixels are of mode {image.mode}; expected 8 bits a channel")
    converted = image.convert(mode)
    if "mode" in given:
        return converted
    pixels = np.array(converted)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _rows(file: Path, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The samples in the array `input`, or in the only array, which is (N, ...), or a single sample (...)."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            names = list(arrays)
            name = "input" if "input" in names or len(names) != 1 else names[0]
            array = arrays[name] if name in names else None
    except (OSError, zipfile.BadZipFile, ValueError, EOFError) as error:
        raise DataError(f"{file}: cannot be read as .npz: {error}") from None
    if array is None:
        raise DataError(f"{file}: which array? expected one named 'input', or a single one; found {names}")
    if "mode" in given:
        raise DataError(f"{file}: the run was trained on images of mode {given['mode']}; expected image files")
    shape, found = list(given["shape"]), f"{array.dtype} of shape {array.shape}"
    if str(array.dtype) != given["dtype"] or list(array.shape[-len(shape) :] if shape else ()) != shape:
        expected = f"{given['dtype']} of shape ({', '.join(map(str, ['N', *shape]))}), as the run's data are"
        raise DataError(f"{file}: array {name!r} is {found}; expected {expected}")
    if array.ndim == len(shape):
        yield str(file), array
    elif array.ndim == len(shape) + 1:
        yield from ((f"{os.fspath(file)}[{i}]", row) for i, row in enumerate(array))
    else:
        raise DataError(f"{file}: array {name!r} is {found}; expected at most one dimension more than a sample has")


BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """`source` is a file, or a row in a file: `images.npz[3]`."""

    source: str
    output: tuple[float, ...]
    """The output of the model; for a classifier, the probabilities of all classes, or of all labels."""
    top: tuple[tuple[str, float], ...]
    """For a classifier, the likeliest classes with their probabilities; else empty."""

    def __str__(self) -> str:
        classes = [f"{name} {probability:.4f}" for name, probability in self.top]
        return "   ".join([self.source, *(classes or (f"{value:.6g}" for value in self.output))])


def predict(
    run: str | Path,
    inputs: str | Path,
    top_k: int = 3,
    overrides: Sequence[str] = (),
    *,
    plugins: Sequence[str] = (),
) -> Iterator[Prediction]:
    """Predictions of a run's best checkpoint, else its last, or of the checkpoint that `run` names.

    `inputs` is an image, an .npz file, or a folder of them; the run's `data.transform.eval` is applied. Images are
    first converted to the kind that the run was trained on: gray, RGB or RGBA with 8 bits a channel. Only transforms
    change their size. DataError if a file cannot be read or does not fit.
    """
    from base.checkpoint.store import CheckpointStore
    from base.config import Config

    folder, name = resolve_resume(run)
    config = Config.read(folder.path / "config.yaml", overrides, plugins=plugins, of_run=True)
    store = CheckpointStore(folder.checkpoints)
    return _predictions(config, store.load(name or ("best" if store.best() else "last")), Path(inputs), top_k)


def _predictions(config: Config, saved: Checkpoint, inputs: Path, top_k: int) -> Iterator[Prediction]:
    from base.checkpoint.verify import check_info
    from utils.device import select_device, select_precision

    check_info(saved)
    known = saved.info["data"]
    if not known.get("input"):
        raise DataError(f"{saved.path}: the inputs of this run are neither images nor arrays: no file can be made one")
    try:
        device = select_device(config.settings.device)
    except ValueError as error:
        fault = config.fault("device", str(error), hint="device=cpu at the end of the command")
        raise ConfigError([fault], config.source) from None
    model = _model(config, saved, known["facts"], device)
    prepare = LOADERS.get("EvalTransforms")(config.settings.data, known["facts"])
    precision = select_precision(config.settings.trainer.precision, device)
    reader = _reader(config)
    waiting: list[tuple[str, Tensor]] = []
    for file in files_in(inputs):
        for source, sample in samples_of(file, known["input"]["given"]):
            waiting.append((source, _fitting(prepare, source, sample, known["input"]["taken"], config)))
            if len(waiting) == BATCH:
                yield from _predict(model, precision, waiting, known, reader, top_k)
                waiting = []
    yield from _predict(model, precision, waiting, known, reader, top_k)


def _model(config: Config, saved: Checkpoint, facts: Mapping[str, Any], device: torch.device) -> nn.Module:
    from base.checkpoint.restore import load_saved

    components = config.settings.models
    if len(components) > 1:
        what = f"this run has {len(components)} models; a prediction is made by a single one"
        raise CheckpointError(f"{saved.path}: {what}")
    ((name, component),) = components.items()
    try:
        model: nn.Module = build(MODELS, component, facts).to(device)
    except KeyError as error:
        raise CheckpointError(f"{saved.path}: the model asks for {error}, which is known in training alone") from None
    load_saved({name: model}, saved)
    return model.eval()


def _fitting(prepare: Any, source: str, sample: Any, taken: Sequence[int], config: Config) -> Tensor:
    """The transformed input. DataError unless it has the shape that the model was trained on."""
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


def _reader(config: Config) -> TaskReader:
    """As the run's first metric reads that names its task; else it has none."""
    from utils.classification import TaskReader

    told = [metric.args for metric in config.settings.metrics if "task" in metric.args]
    return TaskReader(told[0]["task"], threshold=told[0].get("threshold", 0.0)) if told else TaskReader()


def _predict(
    model: nn.Module,
    precision: Any,
    waiting: Sequence[tuple[str, Tensor]],
    known: Mapping[str, Any],
    reader: TaskReader,
    top_k: int,
) -> Iterator[Prediction]:
    import torch

    from utils.classification import probabilities

    if not waiting:
        return
    device = next(model.parameters()).device
    with torch.inference_mode(), precision.autocast():
        output = model(torch.stack([input for _, input in waiting]).to(device))
    if not isinstance(output, torch.Tensor) or output.dim() not in (1, 2):
        is_tensor = isinstance(output, torch.Tensor)
        found = f"a tensor of shape {tuple(output.shape)}" if is_tensor else type(output).__name__
        raise DataError(f"the model gives {found}: a prediction can show one row of numbers for each input")
    output = output.float().cpu().reshape(len(waiting), -1)
    two, labels = _class_names(known, 2), reader.task == "multilabel"
    if output.shape[1] == 1 and (two or reader.task == "binary"):
        positive = reader.probabilities(output)
        output, names = torch.cat([1 - positive, positive], 1), two or ["0", "1"]
    else:
        names = _class_names(known, output.shape[1]) or [str(i) for i in range(output.shape[1])] * labels
        if names:
            output = reader.probabilities(output) if labels else probabilities(output)
    for (source, _), row in zip(waiting, output, strict=True):
        best = row.topk(min(top_k, len(names))) if names else None
        top = zip(best.indices.tolist(), best.values.tolist(), strict=True) if best else ()
        yield Prediction(source, tuple(row.tolist()), tuple((names[i], p) for i, p in top))


def _class_names(known: Mapping[str, Any], count: int) -> list[str]:
    """The names of `count` classes; empty unless the run is a classification with as many."""
    if len(known["classes"]) == count:
        return list(known["classes"])
    return [str(i) for i in range(count)] if known["facts"].get("data.num_classes", math.nan) == count else []
