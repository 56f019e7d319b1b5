"""The log of a run: console and train.log, metrics.jsonl, TensorBoard, each told of the same things."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from base import protocols
from base.registry import WRITERS
from logger.console import EPOCH, TrainLog, columns
from logger.epoch_table import EpochTable, epoch_line
from logger.events import EventWriter, NullEventWriter, cut_back
from logger.introduction import introduce
from logger.metrics_file import MetricsFile
from logger.progress_bar import Progress, Read, progress
from logger.tags import Tags
from utils.memory import memory

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
) -> RunLog:
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
        whole = RunLog(
            train_log=train_log,
            metrics=metrics,
            events=EventWriter(folder, purge_step or 0, prologue) if tensorboard else NullEventWriter(),
            progress=progress(verbosity),
            table=EpochTable(tags, monitor, epochs, best, columns()),
            tags=tags,
            monitor=monitor,
            epochs=epochs,
            kept=cut_back(folder, lengths),
        )
        opened.pop_all()
    return whole


class RunLog:
    """See `base.protocols.RunLog`."""

    def __init__(
        self,
        *,
        train_log: TrainLog,
        metrics: MetricsFile,
        events: EventWriter | NullEventWriter,
        progress: Progress,
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
    """Takes what RunLog takes and keeps nothing: for a run without a folder."""

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
