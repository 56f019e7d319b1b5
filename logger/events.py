"""TensorBoard event files without SummaryWriter's thread: their length, flush and fsync are known and in order.

TensorBoard is imported at the first write (0.2 s), not on the way to the first training step.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from logger.append_file import AppendFile, cut

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

PATTERN = "events.out.tfevents.*"
SUFFIX = ".run"


class EventWriter:
    """Writes one event file into `folder`, in SummaryWriter's words; the file is made at the first write.

    `purge_step` is the first step that a resumed run writes again: a TensorBoard that is showing the run already
    forgets those points. `prologue` is called before the first write.
    """

    def __init__(
        self, folder: Path, purge_step: int = 0, prologue: Callable[[EventWriter], None] = lambda writer: None
    ) -> None:
        self._folder = folder
        self._purge_step = purge_step
        self._prologue = prologue
        self._file: AppendFile | None = None
        self._records: RecordWriter | None = None

    def add_scalar(self, tag: str, scalar_value: float, global_step: int = 0) -> None:
        self.add_values({tag: scalar_value}, global_step)

    def add_values(self, values: Mapping[str, float], global_step: int = 0) -> None:
        """Several scalars in one record, which is several times cheaper than one record each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
        self._add(Summary(value=scalars), global_step)

    def add_text(self, tag: str, text_string: str, global_step: int = 0) -> None:
        """Markdown."""
        from torch.utils.tensorboard.summary import text

        self._add(text(tag, text_string), global_step)

    def add_image(self, tag: str, img_tensor: Any, global_step: int = 0, dataformats: str = "CHW") -> None:
        """A tensor or array, uint8 in [0, 255] or floating point in [0, 1]; `dataformats` is CHW, HWC or HW."""
        from torch.utils.tensorboard.summary import image

        self._add(image(tag, img_tensor, dataformats=dataformats), global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int = 0, bins: int | str = 64) -> None:
        """A tensor or array of any shape, without what is not finite in it; `bins` as numpy.histogram takes them."""
        import numpy as np
        from torch.utils.tensorboard._convert_np import make_np
        from torch.utils.tensorboard.summary import histogram

        array = make_np(values)
        array = array[np.isfinite(array)]
        if array.size:
            self._add(histogram(tag, array, bins), global_step)

    def add_figure(self, tag: str, figure: Any, global_step: int = 0, close: bool = True) -> None:
        """A matplotlib figure, as PNG; `close` frees one that pyplot made."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        png = BytesIO()
        figure.savefig(png, format="png", dpi=figure.dpi)
        width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png.getvalue())
        self._add(Summary(value=[Summary.Value(tag=tag, image=image)]), global_step)
        if close and "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(figure)

    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Which tags share a chart: `{category: {chart: ["Multiline", [patterns of tags]]}}`."""
        from torch.utils.tensorboard.summary import custom_scalars

        self._add(custom_scalars(layout))

    def flush(self) -> dict[str, int]:
        """Hands everything to the operating system; the file's name and length in bytes."""
        if self._file is None:
            return {}
        self._file.flush()
        return {self._file.path.name: self._file.length}

    def sync(self) -> None:
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _add(self, summary: Summary, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        if self._records is None:
            self._open()
        self._write(Event(summary=summary, step=int(step)))

    def _open(self) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._file = AppendFile(next_path(self._folder))
        self._records = RecordWriter(self._file)
        self._write(Event(file_version="brain.Event:2"))
        # In every file: TensorBoard takes a run's first START for its beginning and purges only from the second on.
        self._write(Event(session_log=SessionLog(status=SessionLog.START), step=self._purge_step))
        self._prologue(self)

    def _write(self, event: Event) -> None:
        assert self._records is not None
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


class NullEventWriter:
    """Takes what EventWriter takes and writes nothing."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int = 0) -> None: ...
    def add_values(self, values: Mapping[str, float], global_step: int = 0) -> None: ...
    def add_text(self, tag: str, text_string: str, global_step: int = 0) -> None: ...
    def add_image(self, tag: str, img_tensor: Any, global_step: int = 0, dataformats: str = "CHW") -> None: ...
    def add_histogram(self, tag: str, values: Any, global_step: int = 0, bins: int | str = 64) -> None: ...
    def add_figure(self, tag: str, figure: Any, global_step: int = 0, close: bool = True) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...

    def flush(self) -> dict[str, int]:
        return {}


def next_path(folder: Path) -> Path:
    """The next event file. TensorBoard reads a folder's files in the order of their names and never goes back to an
    earlier one, so the stamp is the clock's or, where the clock is behind, one more than the latest there is.
    """
    stamps = [int(match[1]) for path in folder.glob(PATTERN) if (match := re.match(r"\D*(\d+)", path.name))]
    stamp = max([int(time.time()), *(stamp + 1 for stamp in stamps)])
    return folder / f"events.out.tfevents.{stamp:010d}{SUFFIX}"


def cut_back(folder: Path, lengths: Mapping[str, int]) -> dict[str, int]:
    """Cuts a run's event files to `lengths` (bytes by file name) and removes those that are not named; what is left.

    Files that others have put there, without our suffix, stay as they are.
    """
    kept = {}
    for path in sorted(folder.glob(PATTERN + SUFFIX)):
        if path.name in lengths:
            cut(path, lengths[path.name])
            kept[path.name] = path.stat().st_size
        else:
            path.unlink()
    return kept
