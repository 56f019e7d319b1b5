"""Tests a run: evaluates one of its checkpoints as training does."""

from __future__ import annotations

import json
import logging
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from base.errors import ConfigError, writing
from base.registry import WRITERS
from base.runs.lock import refuse_several_processes
from base.runs.run_dir import RunDir, resolve_resume
from utils import files

if TYPE_CHECKING:
    from base.checkpoint.format import Checkpoint
    from base.evaluation.predictions import Predictions
    from base.evaluation.results import ClassResults

WORST = 16
"""Samples in each half of worst.png."""
IN_MEMORY = 1 << 24
"""Bytes of predictions.csv up to which it waits in memory for the evaluation to end, else in a temporary file."""
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
    `predictions.csv` if outputs and targets are tensors, for a classification of any task the scores of each class or
    label and, unless `pictures` is false, plots of them, and an event file for TensorBoard. Nothing else in the folder
    is changed. Memory does not grow with the dataset.
    """
    from base.build import Builder
    from base.checkpoint.restore import load_saved
    from base.checkpoint.store import CheckpointStore
    from base.checkpoint.verify import check_info
    from base.checks.start import dry_run
    from base.config import Config
    from base.evaluation.predictions import collect_predictions
    from base.evaluation.table import Table

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
    with tempfile.SpooledTemporaryFile(IN_MEMORY, "w+", encoding="utf-8", newline="") as rows:
        samples = WORST if pictures else 0
        found = collect_predictions(trainer, sets[data], f"test on {data}", samples, Table(rows))
        values = _write_results(folder, data, saved, found, rows, pictures)
    _tell(values, found)
    log.info("written: %s", folder.path / "test" / data)
    return found.scores


def _tell(values: Mapping[str, float], found: Predictions) -> None:
    names = _class_of_value(values, found.classes)
    shown = {name: f"{name} ({names[name]})" if name in names else name for name in values}
    log.info("%s", "\n".join(f"  {shown[name]:<24} {value:.6g}" for name, value in values.items()))
    if found.results is not None:
        log.info("%s", in_words(found.results, found.classes))


def _write_results(
    folder: RunDir, data: str, saved: Checkpoint, found: Predictions, rows: IO[str], pictures: bool
) -> dict[str, float]:
    """Writes everything but the log. Returns the scores, for a classification with the calibration error."""
    result = {"checkpoint": saved.name, "save": saved.info["save"], "data": saved.info["data"]["data"], **found.scores}
    values, drawn = dict(found.scores), {}
    if found.results is not None:
        result |= in_numbers(found.results, found.classes)
        values["ece"] = found.results.ece
        drawn = draw(found) if pictures else {}
    write(folder.path / "test" / data, result, rows, drawn)
    WRITERS.get("outcome_of_test")(folder.path, data, saved.info["step"], values, drawn, folder.is_locked())
    return values


def write(target: Path, result: Mapping[str, Any], rows: IO[str], drawn: Mapping[str, bytes]) -> None:
    """Replaces what an earlier test left in the folder `target`."""
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        for earlier in (*target.glob("*.png"), *target.glob("predictions.csv")):
            earlier.unlink()
        files.replace_file(target / "metrics.json", as_json(result).encode())
        if rows.tell():
            rows.seek(0)
            temporary = target / f"{files.TEMPORARY}predictions.csv"
            with temporary.open("w", encoding="utf-8", newline="") as file:
                shutil.copyfileobj(rows, file)
            files.rename(temporary, target / "predictions.csv")
        for name, data in drawn.items():
            files.replace_file(target / f"{name}.png", data)


def in_numbers(results: ClassResults, classes: Sequence[str]) -> dict[str, Any]:
    """Task, calibration, the scores of each class or label, and the confusion matrix (rows are true classes)."""
    confusion = {} if results.confusion is None else {"confusion": results.confusion.tolist()}
    return {
        "task": results.task,
        "ece": results.ece,
        "classes": list(classes),
        **confusion,
        "per_class": {name: asdict(scores) for name, scores in zip(classes, results.class_scores, strict=True)},
        "calibration": [asdict(part) for part in results.calibration],
    }


def as_json(result: Mapping[str, Any]) -> str:
    """JSON with one line for each key."""
    return "{\n" + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()) + "\n}\n"


def in_words(results: ClassResults, classes: Sequence[str]) -> str:
    """One line for each class or label, the lowest f1 first; at most 20."""
    rows = sorted(zip(classes, results.class_scores, strict=True), key=lambda row: row[1].f1)[:20]
    width = max(len(name) for name, _ in rows)
    unit = counted(results)
    head = f"  {'':<{width}}  precision  recall      f1     iou  {unit}"
    lines = (
        f"  {n:<{width}}  {s.precision:9.4f}  {s.recall:6.4f}  {s.f1:6.4f}  {s.iou:6.4f}  {s.support:{len(unit)},}"
        for n, s in rows
    )
    return "\n".join([head, *lines])


def counted(results: ClassResults) -> str:
    """What the support of a class is a number of."""
    return "positions" if results.dense else "samples"


def _class_of_value(values: Mapping[str, float], classes: Sequence[str]) -> dict[str, str]:
    """The class of each value that a metric gives for one: `recall_3`."""
    found: dict[str, str] = {}
    for stem in {re.sub(r"_\d+$", "", name) for name in values}:
        names = [f"{stem}_{i}" for i in range(len(classes))]
        if classes and all(name in values for name in names) and f"{stem}_{len(classes)}" not in values:
            found |= dict(zip(names, classes, strict=True))
    return found


def draw(found: Predictions) -> dict[str, bytes]:
    """PNGs by name."""
    from utils import plots

    results = found.results
    assert results is not None
    drawn = {} if results.confusion is None else {"confusion": plots.confusion(results.confusion, found.classes)}
    drawn["per_class"] = plots.per_class(results.class_scores, found.classes, counted(results))
    of = "label" if results.task == "multilabel" else "class"
    drawn["calibration"] = plots.reliability(results.calibration, of, counted(results))
    return drawn | plots.worst(found.worst, found.classes)
