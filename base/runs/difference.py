"""The differences between two configs, and what each means for a resumed run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from base.config.document import KeyPath, dotted
from base.config.fields import Verdict
from base.config.keys import Settings
from base.config.lookup import verdict_at
from base.errors import Origin

if TYPE_CHECKING:
    from base.config import Config


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT = _Absent()


@dataclass(frozen=True)
class Difference:
    """A key whose value differs; `ABSENT` is the value in a config that lacks the key."""

    key: str
    before: Any
    after: Any
    origin_before: Origin
    origin_after: Origin
    verdict: Verdict

    def __str__(self) -> str:
        """`optimizer.args.lr: 0.1 (configs/a.yaml:9:35) -> 0.5 (command line: --lr=0.5)`."""
        return f"{self.key}: {self.before!r} ({self.origin_before}) -> {self.after!r} ({self.origin_after})"


def difference(before: Config, after: Config) -> list[Difference]:
    """The differing keys, down to single arguments and list entries; keys that only `after` has come last."""
    old, new = dict(_leaves(before.to_dict())), dict(_leaves(after.to_dict()))
    found = []
    for path in [*old, *(path for path in new if path not in old)]:
        was, is_ = old.get(path, ABSENT), new.get(path, ABSENT)
        if was != is_ or type(was) is not type(is_):
            key, verdict = dotted(path), _verdict(path, before.settings, after.settings)
            found.append(Difference(key, was, is_, before.origin(key), after.origin(key), verdict))
    return found


def _leaves(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Scalars with their paths."""
    if isinstance(value, Mapping | list):
        for part, child in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _leaves(child, (*path, part))
    else:
        yield path, value


def _verdict(path: KeyPath, before: Settings, after: Settings) -> Verdict:
    """Whether a resume may change the key. For two keys this depends on their values."""
    if path == ("trainer", "epochs") and not any((*before.schedules.values(), *after.schedules.values())):
        return "harmless"
    if path == ("trainer", "log_every") and before.trainer.check_gradients and after.trainer.check_gradients:
        return "harmless"
    return verdict_at(path)
