"""A run's config.yaml as one flat mapping, fast: two hundred in half a second. Needs neither torch nor pydantic.

The reader of `base.config` knows where each value stands, and takes thirty times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from base.config.document import DEPTH, SIZE
from base.config.yaml_format import scalar

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def flat_config(text: bytes) -> dict[str, Any]:
    """`{"optimizer.args.lr": 0.1, "model.args.hidden": [16, 8], "metrics.0.type": "accuracy"}`: scalars, and lists of
    scalars whole. Values mean what YAML 1.2 says.

    ValueError for a text that no run has written: grammar, tags, aliases, too many values, nested too deep.
    """
    try:
        value = _value(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
    if not isinstance(value, dict):
        raise ValueError("not a mapping")
    return dict(_leaves(value, ""))


def _value(text: bytes) -> Any:
    """From the parser's events, without recursion: PyYAML's composer in C crashes on what is nested very deep."""
    open_: list[list[Any]] = [[]]
    kinds: list[type] = [list]
    event: Any
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if count > SIZE or len(open_) > DEPTH:
            raise ValueError("more values than a config can hold, or nested too deep")
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise ValueError(f"line {event.start_mark.line + 1}: an alias or a tag")
        if isinstance(event, yaml.ScalarEvent):
            open_[-1].append(scalar(event.value) if event.implicit[0] else event.value)
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append([])
            kinds.append(dict if isinstance(event, yaml.MappingStartEvent) else list)
        elif isinstance(event, yaml.CollectionEndEvent):
            items = open_.pop()
            open_[-1].append(_mapping(items) if kinds.pop() is dict else items)
    return open_[0][0] if open_[0] else None


def _mapping(items: list[Any]) -> dict[str, Any]:
    return {str(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    inner = value if isinstance(value, dict) else dict(enumerate(value)) if isinstance(value, list) else {}
    if isinstance(value, dict) or any(isinstance(item, dict | list) for item in inner.values()):
        for part, child in inner.items():
            yield from _leaves(child, f"{key}.{part}" if key else str(part))
    else:
        yield key, value
