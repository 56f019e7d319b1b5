"""The components of a config, each kind with its keys; and how a key is written down."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from base.config.frozen import freeze

Verdict = Literal["harmless", "force", "epoch_end", "impossible"]
"""On a key that differs in a resumed run. `epoch_end` is `impossible` in the middle of an epoch, else `force`."""


def key(about: str, default: Any = ..., *, resume: Verdict = "force", expected: str = "", **limits: Any) -> Any:
    """A key of a section. `expected` says in words what type and limits alone do not."""
    return Field(default, description=about, json_schema_extra={"resume": resume, "expected": expected}, **limits)


def pattern(value: str) -> str:
    """A regular expression as it is; ValueError if it is none."""
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(str(error)) from None
    return value


class Section(BaseModel):
    """Unknown keys are refused, scalars are strict, nothing changes once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


Args = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value), AfterValidator(freeze)]
Off = BeforeValidator(lambda value: None if value == "off" else value)
"""The word for None where something can be off."""
Count = Annotated[int | None, Off]
Empty = BeforeValidator(lambda value: () if value is None or value == "off" else value)
SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Pattern = Annotated[str, AfterValidator(pattern), Field(min_length=1)]
Patterns = Annotated[tuple[Pattern, ...], Empty, Field(strict=False)]


class UnfreezeAt(Section):
    epoch: int = key("at the beginning of this epoch, the first being 1", ge=1)


class Component(Section):
    type: str = key("the name of a registered class or function", min_length=1, expected="a name")
    args: Args = key("its arguments", {}, validate_default=True, expected="a mapping of arguments")


class Model(Component):
    init_from: Annotated[str | None, Off] = key(
        "a run, a checkpoint or a .safetensors file whose weights it begins with",
        None,
        min_length=1,
        resume="harmless",
        expected="a path, or off",
    )
    frozen: bool = key("it does not learn: no gradients, always in eval mode, given to no optimizer", False)
    freeze: Patterns = key(
        "patterns for what of it does not learn, by names or kinds of parameters",
        (),
        resume="epoch_end",
        expected="a list of regular expressions",
    )
    unfreeze_at: Annotated[UnfreezeAt | None, Off] = key(
        "when what `freeze` names begins to learn", None, resume="epoch_end"
    )


class Named(Component):
    """Something that is given an output and a target."""

    output: str | int | None = key("which part of the model's output it is given; null: all of it", None)
    target: str | int | None = key("which part of the target it is given; null: all of it", None)


class Term(Named):
    weight: float = key("what it is multiplied by", 1.0)


class Loss(Named):
    type: str | None = key("the name of a loss; none if there are terms", None, min_length=1, expected="a name")  # type: ignore[assignment]
    terms: Annotated[dict[SetName, Term], AfterValidator(freeze)] = key(
        "losses by name that are weighted, summed, and each logged", {}, expected="names with a loss each"
    )


class Metric(Named):
    name: Annotated[str | None, Off] = key(
        "its name in the logs; null: its type",
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        expected="letters, digits and '_', beginning with a letter",
    )


class Group(Section):
    match: Pattern = key(
        "a pattern that names of its parameters hold, such as bias$, or their kinds, such as BatchNorm",
        resume="impossible",
    )
    name: SetName | None = key("its name in the logs; null: its number", None)
    lr_scale: float = key("what the learning rate is multiplied by", 1.0, gt=0)
    args: Args = key("arguments of the optimizer that differ", {}, expected="a mapping of arguments")


class Optimizer(Component):
    type: str = key("the name of an optimizer", min_length=1, resume="impossible", expected="a name")
    params: Pattern | None = key(
        "what it optimizes: a model's name or a pattern of parameters' names; null: its namesake's, else all",
        None,
        min_length=1,
        resume="impossible",
        expected="a model's name, a regular expression, or null",
    )
    fused: Annotated[bool | None, Off] = key("one kernel for all parameters; null: by kind of optimizer", None)
    groups: Annotated[tuple[Group, ...], Empty, Field(strict=False)] = key(
        "parameters with arguments of their own; each belongs to the first group that matches",
        (),
        expected="a list of mappings with match, name, lr_scale and args",
    )


class Scheduler(Component):
    every: Literal["step", "epoch", "monitor"] | None = key("when it steps; null: by kind of schedule", None)
    steps: Annotated[int | None, Off] = key("how long this link of a chain lasts, counted in `every`", None, ge=1)
