"""A run's row in TensorBoard's HParams: the numbers and choices of its config.

Only what is said of one session is written, never an experiment: TensorBoard would take the first run's for all.
Without one it finds the columns by itself: what stands in any row and, as metrics, every scalar of the runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from base.config.document import KeyPath, dotted
from base.config.lookup import verdict_at

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary

ENDINGS = {"finished": "SUCCESS", "early_stop": "SUCCESS", "error": "FAILURE", "not_finite": "FAILURE"}
"""What HParams can filter by; a run that was stopped and may go on is neither."""


def choices(config: Mapping[str, Any], path: KeyPath = ()) -> dict[str, bool | float | str]:
    """What of a resolved config decides the course of a run, by the key that an override would name.

    Components in a list become words, `RandomCrop(size=28, padding=1)`; null and facts (`${data.num_classes}`), which
    are no choice, are left out, and so are keys that may change on a resume without harm.
    """
    flat: dict[str, bool | float | str] = {}
    for name, value in config.items():
        here = (*path, name)
        if here == ("name",) or verdict_at(here) == "harmless":
            continue
        if isinstance(value, Mapping):
            flat |= choices(value, here)
        elif isinstance(value, list | tuple):
            flat |= {dotted(here): ", ".join(map(words, value))} if value else {}
        elif isinstance(value, bool | int | float) or (isinstance(value, str) and "${" not in value):
            flat[dotted(here)] = value
    return flat


def words(value: Any) -> str:
    """A component as it would be called, a list with its entries; null arguments are not named."""
    if isinstance(value, Mapping) and "type" in value:
        rest = {k: v for k, v in value.items() if k not in ("type", "args") and v is not None}
        arguments = ", ".join(f"{k}={words(v)}" for k, v in {**value.get("args", {}), **rest}.items())
        return f"{value['type']}({arguments})" if arguments else str(value["type"])
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k}: {words(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(words, value))}]"
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
