"""Testing a run: the same evaluation as in training, on the weights of one of its checkpoints."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import ConfigError, writing
from base.registry import WRITERS
from base.run_folder import resolve_resume
from utils import files

if TYPE_CHECKING:
    from torch import Tensor


log = logging.getLogger(__name__)


def evaluate(run: str | Path, data: str = "test", overrides: Sequence[str] = ()) -> dict[str, float]:
    """The losses and metrics of a run, or of one of its checkpoints, on `test`, `valid` or a set by its name.

    Of a run the best checkpoint is taken, else the last. Writes `test/<set>/metrics.json` and, for outputs and targets
    that are tensors, `predictions.csv` into the run's folder; nothing else of it is touched.
    """
    from base.build import Builder
    from base.checkpoint import CheckpointStore
    from base.config import Config
    from base.state import load_weights

    folder, name = resolve_resume(run)
    config = Config.read(folder.path / "config.yaml", overrides, of_run=True)
    WRITERS.get("console")()
    store = CheckpointStore(folder.checkpoints)
    saved = store.load(name or ("best" if store.best() else "last"))
    builder = Builder(config, kept=saved.info["data"])
    parts = builder.parts()
    trainer = builder.trainer(parts)
    load_weights(trainer.evaluated, saved.weights())
    log.info("testing %s of %s (epoch %d, step %d)", saved.name, folder.path, saved.info["epoch"], saved.info["step"])

    sets = builder.loaders()
    if data not in sets:
        expected = f"--data with one of: {', '.join(sets)}"
        raise ConfigError([config.fault("data", f"there is no data set {data!r}", expected=expected)], config.source)
    recorder = Recorder()
    trainer.eval_metrics["predictions"] = recorder
    scores = trainer.evaluate(sets[data], f"test on {data}")

    target = folder.path / "test" / data
    result = {"checkpoint": saved.name, "save": saved.info["save"], "data": saved.info["data"]["data"], **scores}
    with writing(target):
        target.mkdir(parents=True, exist_ok=True)
        files.replace_file(target / "metrics.json", (json.dumps(result, indent=2) + "\n").encode())
        if table := recorder.table():
            files.replace_file(target / "predictions.csv", table.encode())
    log.info("%s", "\n".join(f"  {name:<24} {value:.6g}" for name, value in scores.items()))
    log.info("written: %s", target)
    return scores


class Recorder:
    """Stands among the metrics and keeps what they are shown."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.outputs: list[Any] = []
        self.targets: list[Any] = []

    def update(self, output: Any, target: Any) -> None:
        self.outputs.append(output)
        self.targets.append(target)

    def compute(self) -> dict[str, float]:
        return {}

    def table(self) -> str:
        """CSV, one line a sample in the data's order; empty if outputs are no (B, C) or (B,) tensors."""
        import torch

        if not all(isinstance(x, torch.Tensor) and x.dim() in (1, 2) for x in (*self.outputs, *self.targets)):
            return ""
        outputs, targets = torch.cat(self.outputs).float().cpu(), torch.cat(self.targets).cpu()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if outputs.dim() == 2 and outputs.shape[1] > 1 and not targets.is_floating_point():
            probability, prediction = probabilities(outputs).max(1)
            writer.writerow(["index", "target", "prediction", "probability"])
            rows = zip(targets.tolist(), prediction.tolist(), (f"{p:.6f}" for p in probability.tolist()), strict=True)
            writer.writerows((i, *row) for i, row in enumerate(rows))
        else:
            writer.writerow(["index", "target", "output"])
            pairs = zip(
                targets.flatten(1).tolist() if targets.dim() > 1 else targets.tolist(), outputs.tolist(), strict=True
            )
            writer.writerows((i, *pair) for i, pair in enumerate(pairs))
        return text.getvalue()


def probabilities(outputs: Tensor) -> Tensor:
    """(B, C) logits, log-probabilities or probabilities -> (B, C) probabilities."""
    import torch

    sums = outputs.sum(1)
    already = bool((outputs >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-4)
    return outputs if already else outputs.softmax(1)
