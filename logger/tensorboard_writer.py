"""TensorBoard event files, and a run's row in HParams.

A run writes only its HParams session, never an experiment: TensorBoard would apply the first run's to all runs.
Without one, TensorBoard derives the columns from all sessions and offers every scalar as a metric.

TensorBoard is imported at the first write (0.2 s), not before the first training step.
"""

from __future__ import annotations

import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.config.document import KeyPath, dotted
from base.config.lookup import verdict_at
from logger.jsonl import AppendFile, cut

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

ENDINGS = {"finished": "SUCCESS", "early_stop": "SUCCESS", "error": "FAILURE", "not_finite": "FAILURE"}
"""The statuses that HParams can filter by; a run that was stopped and can be resumed has neither."""


def choices(config: Mapping[str, Any], path: KeyPath = ()) -> dict[str, bool | float | str]:
    """The hyperparameters of a resolved config, by the key that an override would use.

    A list of components becomes a string such as `RandomCrop(size=28, padding=1)`. Null, references such as
    `${data.num_classes}`, and keys that may change on a resume without harm are left out.
    """
    flat: dict[str, bool | float | str] = {}
    for name, value in config.items():
        here = (*path, name)
        if here == ("name",) or verdict_at(here) == "harmless":
            continue
        if isinstance(value, Mapping):
            flat |= choices(value, here)
        elif isinstance(value, list | tuple):
            flat |= {dotted(here): ", ".join(map(as_call, value))} if value else {}
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value):
            flat[dotted(here)] = value
    return flat


def as_call(value: Any) -> str:
    """A component as the call that creates it, without null arguments; other values as text."""
    if isinstance(value, Mapping) and "type" in value:
        rest = {k: v for k, v in value.items() if k not in ("type", "args") and v is not None}
        arguments = ", ".join(f"{k}={as_call(v)}" for k, v in {**value.get("args", {}), **rest}.items())
        return f"{value['type']}({arguments})" if arguments else str(value["type"])
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {as_call(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(as_call, value))}]"
    return str(value)


def session_start(config: Mapping[str, Any]) -> Summary:
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

    info = SessionStartInfo()
    for name, value in choices(config).items():
        kind = "bool" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        setattr(info.hparams[name], f"{kind}_value", value)
    return _summary("_hparams_/session_start_info", HParamsPluginData(session_start_info=info))


def session_end(reason: str) -> Summary:
    from tensorboard.plugins.hparams import api_pb2
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo

    status = api_pb2.Status.Value(f"STATUS_{ENDINGS.get(reason, 'UNKNOWN')}")
    return _summary("_hparams_/session_end_info", HParamsPluginData(session_end_info=SessionEndInfo(status=status)))


def _summary(tag: str, data: Any) -> Summary:
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.plugins.hparams import metadata

    data.version = metadata.PLUGIN_DATA_VERSION
    content = SummaryMetadata.PluginData(plugin_name=metadata.PLUGIN_NAME, content=data.SerializeToString())
    value = Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=content), tensor=metadata.NULL_TENSOR)
    return Summary(value=[value])


PATTERN = "events.out.tfevents.*"
SUFFIX = ".run"


class Summaries(ABC):
    """The methods of torch's SummaryWriter; a subclass decides where the events go."""

    @abstractmethod
    def add_event(self, event: Event) -> None:
        """Adds a TensorBoard message directly, for what the other methods do not cover."""

    def add_summary(self, summary: Summary, step: int = 0) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.add_event(Event(summary=summary, step=int(step)))

    def add_scalar(self, tag: str, scalar_value: float, global_step: int = 0) -> None:
        self.add_values({tag: scalar_value}, global_step)

    def add_values(self, values: Mapping[str, float], global_step: int = 0) -> None:
        """Adds several scalars in one record, which is several times cheaper than one record each."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in values.items()]
        self.add_summary(Summary(value=scalars), global_step)

    def add_text(self, tag: str, text_string: str, global_step: int = 0) -> None:
        """Adds a text in Markdown."""
        from torch.utils.tensorboard.summary import text

        self.add_summary(text(tag, text_string), global_step)

    def add_image(self, tag: str, img_tensor: Any, global_step: int = 0, dataformats: str = "CHW") -> None:
        """Adds a tensor or array, uint8 in [0, 255] or float in [0, 1]; `dataformats` is CHW, HWC or HW."""
        from torch.utils.tensorboard.summary import image

        self.add_summary(image(tag, img_tensor, dataformats=dataformats), global_step)

    def add_histogram(self, tag: str, values: Any, global_step: int = 0, bins: int | str = 64) -> None:
        """Adds the finite values of a tensor or array of any shape; `bins` as in numpy.histogram."""
        import numpy as np
        from torch.utils.tensorboard._convert_np import make_np
        from torch.utils.tensorboard.summary import histogram

        array = make_np(values)
        array = array[np.isfinite(array)]
        if array.size:
            self.add_summary(histogram(tag, array, bins), global_step)

    def add_png(self, tag: str, data: bytes, global_step: int = 0) -> None:
        """Adds an encoded PNG."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))  # in the header, IHDR
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=data)
        self.add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), global_step)

    def add_figure(self, tag: str, figure: Any, global_step: int = 0, close: bool = True) -> None:
        """Adds a matplotlib figure as PNG; `close` frees a figure made by pyplot."""
        from utils import fonts

        png = BytesIO()
        fonts.save(figure, png, format="png", dpi=figure.dpi)
        self.add_png(tag, png.getvalue(), global_step)
        if close and "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(figure)

    def add_graph(self, nodes: Sequence[Any]) -> None:
        """Adds a graph of `utils.model_summary.Node`s; TensorBoard shows the last graph of a run."""
        from tensorboard.compat.proto.attr_value_pb2 import AttrValue
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.graph_pb2 import GraphDef
        from tensorboard.compat.proto.node_def_pb2 import NodeDef
        from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
        from tensorboard.compat.proto.versions_pb2 import VersionDef

        def shapes(node: Any) -> AttrValue:
            shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=size) for size in node.shape])
            return AttrValue(list=AttrValue.ListValue(shape=[shape]))

        definitions = [NodeDef(name=n.name, op=n.op, input=n.inputs, attr={"_output_shapes": shapes(n)}) for n in nodes]
        graph = GraphDef(node=definitions, versions=VersionDef(producer=22))
        self.add_event(Event(graph_def=graph.SerializeToString()))

    def add_custom_scalars(self, layout: Mapping[str, Mapping[str, list[Any]]]) -> None:
        """Defines which tags share a chart: `{category: {chart: ["Multiline", [patterns of tags]]}}`."""
        from torch.utils.tensorboard.summary import custom_scalars

        self.add_summary(custom_scalars(layout))


class TensorBoardWriter(Summaries):
    """Writes one event file into `folder`, which is created at the first write.

    `purge_step` is the first step that a resumed run repeats: a running TensorBoard discards its points from there on.
    `prologue` is called before the first write.
    """

    def __init__(self, folder: Path, purge_step: int = 0, prologue: Callable[[], None] = lambda: None) -> None:
        self._folder = folder
        self._purge_step = purge_step
        self._prologue = prologue
        self._file: AppendFile | None = None
        self._records: RecordWriter | None = None

    def flush(self) -> dict[str, int]:
        """Flushes to the operating system. Returns the length in bytes by file name; empty before the first write."""
        if self._file is None:
            return {}
        self._file.flush()
        return {self._file.path.name: self._file.length}

    def end(self, reason: str) -> None:
        """Writes the HParams status of the run, if it has written anything."""
        if self._records is not None:
            self.add_summary(session_end(reason))

    def sync(self) -> None:
        if self._file is not None:
            self._file.sync()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def add_event(self, event: Event) -> None:
        write(self._records or self._open(), event)

    def _open(self) -> RecordWriter:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._prologue()
        self._file = AppendFile(next_path(self._folder))
        self._records = records_into(self._file)
        # Every file needs one: TensorBoard ignores a run's first START and purges at each later one.
        write(self._records, Event(session_log=SessionLog(status=SessionLog.START), step=self._purge_step))
        return self._records


class EventBuffer(Summaries):
    """An event file in memory; `data` is its content."""

    def __init__(self) -> None:
        self._file = BytesIO()
        self._records = records_into(self._file)

    @property
    def data(self) -> bytes:
        return self._file.getvalue()

    def add_event(self, event: Event) -> None:
        write(self._records, event)


class NullEventWriter:
    """Accepts what TensorBoardWriter accepts and writes nothing."""

    def add_event(self, event: Event) -> None: ...
    def add_summary(self, summary: Summary, step: int = 0) -> None: ...

    def add_scalar(self, tag: str, scalar_value: float, global_step: int = 0) -> None: ...
    def add_values(self, values: Mapping[str, float], global_step: int = 0) -> None: ...
    def add_text(self, tag: str, text_string: str, global_step: int = 0) -> None: ...
    def add_image(self, tag: str, img_tensor: Any, global_step: int = 0, dataformats: str = "CHW") -> None: ...
    def add_histogram(self, tag: str, values: Any, global_step: int = 0, bins: int | str = 64) -> None: ...
    def add_graph(self, nodes: Sequence[Any]) -> None: ...
    def add_png(self, tag: str, data: bytes, global_step: int = 0) -> None: ...
    def add_figure(self, tag: str, figure: Any, global_step: int = 0, close: bool = True) -> None: ...
    def end(self, reason: str) -> None: ...
    def sync(self) -> None: ...
    def close(self) -> None: ...

    def flush(self) -> dict[str, int]:
        return {}


def records_into(file: AppendFile | BytesIO) -> RecordWriter:
    """A writer that has written the version record, with which every event file begins."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    records = RecordWriter(file)
    write(records, Event(file_version="brain.Event:2"))
    return records


def write(records: RecordWriter, event: Event) -> None:
    event.wall_time = time.time()
    records.write(event.SerializeToString())


def next_path(folder: Path, suffix: str = SUFFIX) -> Path:
    """The path of the next event file. TensorBoard reads files in the order of their names and never returns to an
    earlier one. So the timestamp in the name is the current time, or one more than the latest if the clock is behind.
    """
    stamps = [int(match[1]) for path in folder.glob(PATTERN) if (match := re.match(r"\D*(\d+)", path.name))]
    stamp = max([int(time.time()), *(stamp + 1 for stamp in stamps)])
    return folder / f"events.out.tfevents.{stamp:010d}{suffix}"


def cut_back(folder: Path, lengths: Mapping[str, int]) -> dict[str, int]:
    """Truncates a run's event files to `lengths` (bytes by file name), deletes the others, and returns the new lengths.

    Event files written by other programs, without our suffix, are left alone.
    """
    remaining = {}
    for path in sorted(folder.glob(PATTERN + SUFFIX)):
        if path.name in lengths:
            cut(path, lengths[path.name])
            remaining[path.name] = path.stat().st_size
        else:
            path.unlink()
    return remaining
