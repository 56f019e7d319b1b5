"""The log of a run: passes each event to the console, train.log, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from base import protocols
from base.errors import writing
from base.registry import WRITERS
from base.runs.run_dir import read_notes
from logger.console import EPOCH, ProgressBar, Read, TrainLog, columns, progress
from logger.epoch_table import EpochTable, epoch_line
from logger.jsonl import MetricsFile, Tags
from logger.tensorboard_writer import (
    EventBuffer,
    NullEventWriter,
    TensorBoardWriter,
    cut_back,
    next_path,
    session_start,
)
from utils import files
from utils.device import memory

ABOUT = "events.out.tfevents.0000000000.about"
"""Read before all others, and written anew by each process that trains: of a tag that is no curve TensorBoard keeps
the first it meets, so that one that was added later, after a resume with another config, would not be seen."""
LONGEST_TEXT = 20_000
"""Characters of a file that TensorBoard shows; environment.json may hold a long diff."""


def introduce(
    folder: Path, header: Mapping[str, Any], config: Mapping[str, Any], tags: Tags, describe_model: Callable[[], str]
) -> None:
    """Writes the event file `ABOUT` of the run in `folder`."""
    events = EventBuffer()
    events.add_custom_scalars(tags.charts())
    events.add_text("run", fenced("json", json.dumps(header, indent=2)))
    for name, language in (("config.yaml", "yaml"), ("environment.json", "json")):
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            events.add_text(name.partition(".")[0], fenced(language, text[:LONGEST_TEXT]))
    if notes := read_notes(folder):
        events.add_text("notes", fenced("text", "\n".join(map(str, notes))))
    if model := describe_model():
        events.add_text("model", model)
    if config:
        events.add_summary(session_start(config))
    with writing(folder / ABOUT):
        files.replace_file(folder / ABOUT, events.data)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


BEFORE_ALL = "events.out.tfevents.0000000001"


@WRITERS.register
def outcome_of_test(
    folder: Path, name: str, step: int, values: Mapping[str, float], pictures: Mapping[str, bytes], running: bool
) -> None:
    """Writes `values` and `pictures`, PNGs, as `<name of value>/test[_<set>]` at `step`, in place of an earlier test.

    In a file that is read last, so that no beginning of the run forgets it. While the run is `running` it is read
    first: without its fast loader TensorBoard leaves a file for good when there is a later one, and would lose sight
    of the run.
    """
    split = "test" if name == "test" else f"test_{name}"
    events = EventBuffer()
    events.add_values({f"{value}/{split}": number for value, number in values.items()}, step)
    for picture, data in pictures.items():
        events.add_png(f"{picture}/{split}", data, step)
    with writing(folder):
        for earlier in folder.glob(f"events.out.tfevents.*.{name}.test"):
            earlier.unlink()
        path = folder / f"{BEFORE_ALL}.{name}.test" if running else next_path(folder, f".{name}.test")
        files.replace_file(path, events.data)


log = logging.getLogger(__name__)


@WRITERS.register
def run_log(
    folder: Path,
    *,
    header: Mapping[str, Any],
    tensorboard: bool,
    verbosity: int,
    monitor: str,
    epochs: int,
    best: float | None = None,
    lengths: Mapping[str, int] | None = None,
    purge_step: int | None = None,
    config: Mapping[str, Any] | None = None,
    describe_model: Callable[[], str] = lambda: "",
) -> RunLogger:
    """The log of the run in `folder`.

    `header` becomes the first line of metrics.jsonl; the names in its `metrics` and `valid_sets` decide TensorBoard's
    tags and charts. `monitor` is the name of the watched value. On a resume, `best` is the best of it so far, `lengths`
    what `flush` gave when the state was saved: later rows and events are cut off; `purge_step` is the first step to be
    done again. `config`, every key of it, becomes the run's row in HParams; `describe_model` is called when the first
    event is written.
    """
    lengths = lengths or {}
    tags = Tags(header.get("metrics", ()), header.get("valid_sets", ()))
    prologue = partial(introduce, folder, header, config or {}, tags, describe_model)
    with ExitStack() as opened:  # what is open is closed again if the rest fails
        train_log = opened.enter_context(closing(TrainLog(folder / "train.log")))
        metrics = opened.enter_context(
            closing(MetricsFile(folder / "metrics.jsonl", header, lengths.get("metrics.jsonl", 0)))
        )
        whole = RunLogger(
            train_log=train_log,
            metrics=metrics,
            events=TensorBoardWriter(folder, purge_step or 0, prologue) if tensorboard else NullEventWriter(),
            progress=progress(verbosity),
            table=EpochTable(tags, monitor, epochs, best, columns()),
            tags=tags,
            monitor=monitor,
            epochs=epochs,
            kept=cut_back(folder, lengths),
        )
        opened.pop_all()
    return whole


class RunLogger:
    """See `base.protocols.RunLogger`."""

    def __init__(
        self,
        *,
        train_log: TrainLog,
        metrics: MetricsFile,
        events: TensorBoardWriter | NullEventWriter,
        progress: ProgressBar,
        table: EpochTable,
        tags: Tags,
        monitor: str,
        epochs: int,
        kept: Mapping[str, int],
    ) -> None:
        self.writer: protocols.EventWriter = events
        self._train_log = train_log
        self._metrics = metrics
        self._events = events
        self._progress = progress
        self._table = table
        self._tags = tags
        self._monitor = monitor
        self._epochs = epochs
        self._kept = kept

    def begin_phase(self, title: str, total: int, start: int = 0) -> None:
        self._progress.begin(title, total, start)

    def advance(self, read: Read) -> None:
        self._progress.advance(read)

    def end_phase(self) -> None:
        self._progress.end()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """To TensorBoard only: `lr`, `lr/<group>`, `grad_norm`, `system/*` as they are, any other as `<name>/step`.

        Learning rate and gradient norm come this way alone, so call it at the last step of an epoch too.
        """
        self._events.add_values(self._tags.of_step(values), step)
        self._events.flush()

    def row(self, row: Mapping[str, Any], improved: bool = False) -> None:
        self._metrics.row(row)
        values = self._tags.of_row(row)
        if improved:
            values[f"best/{self._monitor}"] = row[self._monitor]
        values |= {f"system/{kind}_gib": held for kind, held in memory().items()}
        self._events.add_values(values, row["step"])
        self._events.flush()
        if "seconds" in row:
            self._progress.end_epoch(row["seconds"])
        shown = {"improved": improved, "table": self._table.row(row, improved)}
        log.log(EPOCH, epoch_line(row, self._epochs, improved), extra=shown)

    def end(self, reason: str) -> None:
        self._metrics.end(reason)
        self._events.end(reason)

    def flush(self) -> dict[str, int]:
        return {**self._kept, **self._metrics.lengths, **self._events.flush()}

    def sync(self) -> None:
        self._metrics.sync()
        self._events.sync()

    def close(self) -> None:
        with ExitStack() as stack:  # each is closed, also when another cannot write its last bytes
            for part in (self._train_log, self._metrics, self._events):
                stack.callback(part.close)
            self._progress.close()


@WRITERS.register
class NullLog:
    """Takes what RunLogger takes and keeps nothing: for a run without a folder."""

    def __init__(self) -> None:
        self.writer: protocols.EventWriter = NullEventWriter()

    def begin_phase(self, title: str, total: int, start: int = 0) -> None: ...
    def advance(self, read: Read) -> None: ...
    def end_phase(self) -> None: ...
    def scalars(self, step: int, values: Mapping[str, float]) -> None: ...
    def row(self, row: Mapping[str, Any], improved: bool = False) -> None: ...
    def end(self, reason: str) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...

    def flush(self) -> dict[str, int]:
        return {}
