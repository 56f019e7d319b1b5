"""Tests a run: evaluates one of its checkpoints as training does."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import ConfigError, writing
from base.registry import WRITERS
from base.runs.lock import refuse_several_processes
from base.runs.run_dir import RunDir, resolve_resume
from utils import files

if TYPE_CHECKING:
    from base.checkpoint.format import Checkpoint
    from base.evaluation.predictions import Predictions

WORST = 16
"""Samples in each half of worst.png."""
COLUMNS = 100
"""With more classes, predictions.csv has no column for each."""
log = logging.getLogger(__name__)


def evaluate(
    run: str | Path,
    data: str = "test",
    overrides: Sequence[str] = (),
    *,
    pictures: bool = True,
    plugins: Sequence[str] = (),
) -> dict[str, float]:
    """The losses and metrics of a run, or of one of its checkpoints, on `test`, `valid` or another dataset by name.

    A run is tested with its best checkpoint, else its last. Writes `test/<name>/metrics.json` into the run's folder,
    `predictions.csv` if outputs and targets are tensors, for a classification the scores of each class and, unless
    `pictures` is false, plots of them, and an event file for TensorBoard. Nothing else in the folder is changed.
    """
    from base.build import Builder
    from base.checkpoint.restore import load_saved
    from base.checkpoint.store import CheckpointStore
    from base.checkpoint.verify import check_info
    from base.checks.start import dry_run
    from base.config import Config
    from base.evaluation.predictions import collect_predictions

    refuse_several_processes()
    folder, name = resolve_resume(run)
    config = Config.read(folder.path / "config.yaml", overrides, plugins=plugins, of_run=True)
    WRITERS.get("console")()
    store = CheckpointStore(folder.checkpoints)
    saved = store.load(name or ("best" if store.best() else "last"))
    check_info(saved)
    builder = Builder(config, decisions=saved.info["data"])
    builder.load_data()
    trainer = builder.build_trainer(builder.for_evaluation())
    dry_run(builder, trainer)
    load_saved(trainer.evaluated, saved)
    log.info("testing %s of %s (epoch %d, step %d)", saved.name, folder.path, saved.info["epoch"], saved.info["step"])

    sets = builder.loaders()
    if data not in sets:
        expected = f"--data with one of: {', '.join(sets)}"
        raise ConfigError([config.fault("data", f"there is no dataset {data!r}", expected=expected)], config.source)
    found = collect_predictions(trainer, sets[data], f"test on {data}", samples=WORST if pictures else 0)
    values = _write_results(folder, data, saved, found, pictures)
    log.info("%s", "\n".join(f"  {name:<24} {value:.6g}" for name, value in values.items()))
    if found.classes:
        log.info("%s", in_words(found))
    log.info("written: %s", folder.path / "test" / data)
    return found.scores


def _write_results(
    folder: RunDir, data: str, saved: Checkpoint, found: Predictions, pictures: bool
) -> dict[str, float]:
    """Writes everything but the log. Returns the scores, for a classification with the calibration error."""
    result = {"checkpoint": saved.name, "save": saved.info["save"], "data": saved.info["data"]["data"], **found.scores}
    if found.classes:
        result |= in_numbers(found)
    drawn = draw(found) if pictures and found.classes else {}
    write(folder.path / "test" / data, result, found, drawn)
    values = found.scores | ({"ece": found.ece} if found.classes else {})
    WRITERS.get("outcome_of_test")(folder.path, data, saved.info["step"], values, drawn, folder.is_locked())
    return values


def write(target: Path, result: Mapping[str, Any], found: Predictions, drawn: Mapping[str, bytes]) -> None:
    """Replaces what an earlier test left in the folder `target`."""
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for earlier in (*target.glob("*.png"), *target.glob("predictions.csv")):
            earlier.unlink()
        files.replace_file(target / "metrics.json", as_json(result).encode())
        if found.outputs is not None:
            files.replace_file(target / "predictions.csv", table(found).encode())
        for name, data in drawn.items():
            files.replace_file(target / f"{name}.png", data)


def in_numbers(found: Predictions) -> dict[str, Any]:
    """The confusion matrix (rows are true classes), the scores of each class, and the calibration."""
    return {
        "ece": found.ece,
        "classes": found.classes,
        "confusion": found.confusion.tolist(),
        "per_class": {name: asdict(scores) for name, scores in zip(found.classes, found.class_scores, strict=True)},
        "calibration": [asdict(part) for part in found.calibration],
    }


def as_json(result: Mapping[str, Any]) -> str:
    """JSON with one line for each key."""
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()) + "\n}\n"


def in_words(found: Predictions) -> str:
    """One line for each class, the lowest f1 first; at most 20."""
    rows = sorted(zip(found.classes, found.class_scores, strict=True), key=lambda row: row[1].f1)[:20]
    width = max(len(name) for name, _ in rows)
    head = f"  {'':<{width}}  precision  recall      f1  samples"
    return "\n".join(
        [head, *(f"  {n:<{width}}  {s.precision:9.4f}  {s.recall:6.4f}  {s.f1:6.4f}  {s.support:7,}" for n, s in rows)]
    )


def draw(found: Predictions) -> dict[str, bytes]:
    """PNGs by name."""
    from utils import plots

    drawn = {
        "confusion": plots.confusion(found.confusion, found.classes),
        "per_class": plots.per_class(found.class_scores, found.classes),
        "calibration": plots.reliability(found.calibration),
    }
    return drawn | plots.worst(found.unlikely, found.sure, found.classes)


def table(found: Predictions) -> str:
    """CSV with one line a sample, in the order of the dataset."""
    assert found.outputs is not None and found.targets is not None
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if not found.classes:
        columns = {"target": found.targets, "output": found.outputs}
        wide = {name: values.reshape(len(values), -1) for name, values in columns.items()}
        numbered = {name: range(values.shape[1]) if values.shape[1] > 1 else [""] for name, values in wide.items()}
        writer.writerow(["index", *(f"{name}_{i}".rstrip("_") for name, numbers in numbered.items() for i in numbers)])
        pairs = zip(*(values.tolist() for values in wide.values()), strict=True)
        writer.writerows((i, *target, *output) for i, (target, output) in enumerate(pairs))
        return text.getvalue()
    each = found.classes if len(found.classes) <= COLUMNS else []
    writer.writerow(["index", "target", "prediction", "probability", *(f"p({name})" for name in each)])
    highest, predictions = found.probabilities.max(1)
    rows = (found.targets.tolist(), predictions.tolist(), highest.tolist(), found.probabilities.tolist())
    for i, (target, prediction, top, row) in enumerate(zip(*rows, strict=True)):
        writer.writerow([i, target, prediction, f"{top:.6f}", *(f"{p:.6f}" for p in row[: len(each)])])
    return text.getvalue()
