"""Read-only dicts and lists: a config does not change under the program that runs by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenDict(dict[str, Any]):
    """A dict that refuses to be changed."""

    def __reduce__(self) -> Any:
        return FrozenDict, (dict(self),)


class FrozenList(list[Any]):
    """A list that refuses to be changed."""

    def __reduce__(self) -> Any:
        return FrozenList, (list(self),)


def _refuse(self: Any, *args: Any, **kwargs: Any) -> NoReturn:
    raise TypeError("a config is read-only: change its file, or override the key (command line, fit())")


_CHANGES = {
    FrozenDict: "__setitem__ __delitem__ __ior__ clear pop popitem setdefault update",
    FrozenList: "__setitem__ __delitem__ __iadd__ __imul__ append clear extend insert pop remove reverse sort",
}
for _kind, _methods in _CHANGES.items():
    for _method in _methods.split():
        setattr(_kind, _method, _refuse)


def freeze(value: Any) -> Any:
    """`value` with every dict and list in it read-only."""
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    return FrozenList(freeze(item) for item in value) if isinstance(value, list | tuple) else value
