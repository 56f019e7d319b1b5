"""Building blocks of the section models: how a key is declared, and the types of values that keys share."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field

from base.config.document import freeze
from base.errors import suggest

Verdict = Literal["harmless", "force", "epoch_end", "impossible"]
"""On a key that differs in a resumed run. `epoch_end` is `impossible` in the middle of an epoch, else `force`."""


def key(
    about: str,
    default: Any = ...,
    *,
    resume: Verdict = "force",
    expected: str = "",
    registry: str = "",
    **limits: Any,
) -> Any:
    """Declares a key of a section. `expected` describes its values where type and limits are not enough. `registry`
    names the registry of the components under this key; of several, the first that knows a name is used.
    """
    extra: Any = {"resume": resume, "expected": expected, "registries": tuple(registry.split())}
    return Field(default, description=about, json_schema_extra=extra, **limits)


def pattern(value: str) -> str:
    """Returns a regular expression unchanged; raises ValueError if it is invalid."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(str(error)) from None
    return value


class Section(BaseModel):
    """Refuses unknown keys, converts no scalars, and is read-only."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Args = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value), AfterValidator(freeze)]


def is_off(value: Any) -> bool:
    """`off`, or `false`, which JSON has in its place and PyYAML writes for it."""
    return value is False or (isinstance(value, str) and value == "off")


Off = BeforeValidator(lambda value: None if is_off(value) else value)
"""Reads `off` and `false` as None; not for keys that may be false."""
OffOrFalse = BeforeValidator(lambda value: None if value == "off" else value)
"""Reads `off` as None, and `false` as false."""
Count = Annotated[int | None, Off]
Empty = BeforeValidator(lambda value: () if value is None or is_off(value) else value)
SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Pattern = Annotated[str, AfterValidator(pattern), Field(min_length=1)]
Patterns = Annotated[tuple[Pattern, ...], Empty, Field(strict=False)]


class Component(Section):
    type: str = key("the name of a registered class or function", min_length=1, expected="a name")
    args: Args = key("its arguments", {}, validate_default=True, expected="a mapping of arguments")


def seconds(value: Any) -> Any:
    """Converts `1h30m`, `90m`, `1d12h`, `45s` or `01:30:00` to seconds, and `off` to None; other values are kept."""
    if not isinstance(value, str) or is_off(value):
        return None if is_off(value) else value
    clock = re.fullmatch(r"(\d+):([0-5]\d):([0-5]\d)", value)
    units = re.fullmatch(r"(?=\d)(?:(\d+)d)? ?(?:(\d+)h)? ?(?:(\d+)m)? ?(?:(\d+)s)?", value)
    if clock:
        hours, minutes, rest = map(int, clock.groups())
        return float(3600 * hours + 60 * minutes + rest)
    if units:
        days, hours, minutes, rest = map(int, units.groups("0"))
        return float(86400 * days + 3600 * hours + 60 * minutes + rest)
    raise ValueError("not a time")


_PYTHON = ("_target_", "class_path", "init_args")
"""What Hydra and jsonargparse call `type` and `args`."""


def are_names(own: Collection[str], values: Mapping[str, Any]) -> bool:
    """True if the keys of a mapping are names of components and not keys of a single one, which are `own`. A misspelt
    `type` or `args` is not a name, and numbers alone are no components: somebody left out `type`.
    """
    if not values or any(name in own or name in _PYTHON or suggest(name, ("type", "args")) for name in values):
        return False
    return not all(_is_plain(value) for value in values.values())


def _is_plain(value: Any) -> bool:
    """True for a number, true, false, or a list of these."""
    return all(map(_is_plain, value)) if isinstance(value, list) and value else isinstance(value, bool | int | float)


def one_or_named(component: type[Component]) -> Discriminator:
    """Tells a mapping of components by name from a single component, and that from a chain of them."""

    def kind(value: Any) -> str:
        if isinstance(value, list | tuple):
            return "<chain>"
        return "<named>" if isinstance(value, Mapping) and are_names(component.model_fields, value) else "<one>"

    return Discriminator(kind)


def kind_of_set(value: Any) -> str:
    if isinstance(value, Component) or (isinstance(value, Mapping) and ("type" in value or "args" in value)):
        return "<component>"
    if isinstance(value, Mapping):
        return "<sets>"
    return "<word>" if isinstance(value, str) else "<fraction>" if isinstance(value, float) else "<count>"


def by_name(value: Any, own: str = "") -> dict[str, Any]:
    """What a key holds by name; the usual single one is named `own`."""
    return {} if value is None else dict(value) if isinstance(value, dict) else {own: value}
