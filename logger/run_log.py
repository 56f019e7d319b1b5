"""The log of a run: passes each event to the console, train.log, metrics.jsonl and TensorBoard."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
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
"""Sorts before all other event files and is rewritten by each training process. TensorBoard keeps the first value of a
text or layout tag, so it would ignore what a resume with another config adds to a later file."""
LONGEST_TEXT = 20_000
"""Characters of a file shown in TensorBoard; environment.json may contain a long diff."""


def write_header(
    folder: Path, header: Mapping[str, Any], config: Mapping[str, Any], tags: Tags, describe_model: Callable[[], str]
) -> None:
    """Writes the event file `ABOUT` of the run in `folder`: config, environment, notes, model, layout and HParams."""
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
    """Writes `values` and `pictures` (PNG data) with tags `<name>/test[_<set>]` at `step`, replacing an earlier test.

    The file sorts last, so that the START event of no other file purges it. While the run is `running`, it sorts first:
    TensorBoard's slow loader never returns to a file once there is a later one, and would stop following the run.
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
    """Opens the log of the run in `folder`.

    `header` becomes the first line of metrics.jsonl; its `metrics` and `valid_sets` determine TensorBoard's
    tags and charts. `monitor` is the name of the monitored value. `config`, with all its keys, becomes the run's row in
    HParams. `describe_model` is called when the first event is written.

    On a resume, `best` is the best monitored value so far, `lengths` what `flush` returned when the checkpoint was
    saved (later rows and events are removed), and `purge_step` the first step that is repeated.
    """
    lengths = lengths or {}
    tags = Tags(header.get("metrics", ()), header.get("valid_sets", ()))
    prologue = partial(write_header, folder, header, config or {}, tags, describe_model)
    with ExitStack() as opened:  # closes what is open if the rest fails
        train_log = opened.enter_context(closing(TrainLog(folder / "train.log")))
        metrics = opened.enter_context(
            closing(MetricsFile(folder / "metrics.jsonl", header, lengths.get("metrics.jsonl", 0)))
        )
        logger = RunLogger(
            writer=TensorBoardWriter(folder, purge_step or 0, prologue) if tensorboard else NullEventWriter(),
            train_log=train_log,
            metrics=metrics,
            progress=progress(verbosity),
            table=EpochTable(tags, monitor, epochs, best, columns()),
            tags=tags,
            monitor=monitor,
            epochs=epochs,
            earlier_events=cut_back(folder, lengths),
        )
        opened.pop_all()
    return logger


@dataclass(kw_only=True, eq=False)
class RunLogger:
    """See `base.protocols.RunLog`."""

    writer: TensorBoardWriter | NullEventWriter
    train_log: TrainLog
    metrics: MetricsFile
    progress: ProgressBar
    table: EpochTable
    tags: Tags
    monitor: str
    epochs: int
    earlier_events: Mapping[str, int]
    """Lengths in bytes of the event files written before a resume, by name."""

    def begin_phase(self, title: str, total: int, start: int = 0) -> None:
        self.progress.begin(title, total, start)

    def advance(self, read: Read) -> None:
        self.progress.advance(read)

    def end_phase(self) -> None:
        self.progress.end()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs to TensorBoard only: `lr`, `lr/<group>`, `grad_norm` and `system/*` unchanged, others as `<name>/step`.

        `row` leaves out learning rate and gradient norm, so call this at the last step of an epoch too.
        """
        self.writer.add_values(self.tags.of_step(values), step)
        self.writer.flush()

    def row(self, row: Mapping[str, Any], improved: bool = False) -> None:
        self.metrics.row(row)
        values = self.tags.of_row(row)
        if improved:
            values[f"best/{self.monitor}"] = row[self.monitor]
        values |= {f"system/{kind}_gib": held for kind, held in memory().items()}
        self.writer.add_values(values, row["step"])
        self.writer.flush()
        if "seconds" in row:
            self.progress.end_epoch(row["seconds"])
        shown = {"improved": improved, "table": self.table.row(row, improved)}
        log.log(EPOCH, epoch_line(row, self.epochs, improved), extra=shown)

    def end(self, reason: str) -> None:
        self.metrics.end(reason)
        self.writer.end(reason)

    def flush(self) -> dict[str, int]:
        return {**self.earlier_events, self.metrics.path.name: self.metrics.length, **self.writer.flush()}

    def sync(self) -> None:
        self.metrics.sync()
        self.writer.sync()

    def close(self) -> None:
        with ExitStack() as stack:  # closes each even if another cannot write its last bytes
            for part in (self.train_log, self.metrics, self.writer):
                stack.callback(part.close)
            self.progress.close()


@WRITERS.register
class NullLog:
    """Accepts what RunLogger accepts and discards it: for a run without a directory."""

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
