"""What a class or function may be called with, and what plain values become on their way to it."""

from __future__ import annotations

import inspect
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypeVar, Union

import pytest
import torch
from annotated_types import Ge, Gt, Interval, Len, Lt
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from base.config.annotations import Mismatch, describe, fit
from base.config.arguments import annotation, convert, parameters
from base.config.torch_facts import RANGES
from base.registry import FUNCTIONS, LOSSES, METRICS, REGISTRIES
from utils import library_components as library


class Colour(Enum):
    red = "r"
    blue = "b"


class Hook(Protocol):
    def __call__(self, x: int) -> int: ...


T = TypeVar("T")
Size = NewType("Size", int)


@FUNCTIONS.register
def toy_ramp(step: int, length: int = 10) -> float:
    return step / length


FITS = [
    (3, int, 3),
    (3, float, 3.0),
    (True, bool, True),
    ("a", str, "a"),
    (None, None, None),
    (3, Size, 3),
    (3, Annotated[int, "words"], 3),
    (0.5, Annotated[float, Interval(ge=0, le=1)], 0.5),
    (3, float | Tensor, 3.0),
    (3, int | float, 3),
    (3, Optional[float], 3.0),  # noqa: UP045
    (None, float | None, None),
    ("thin", Literal["thin", 2], "thin"),
    ([1, 2], list[float], [1.0, 2.0]),
    ([1, 2], Sequence[int], [1, 2]),
    ([1, 2], Iterable[int], [1, 2]),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, 2], tuple[int, float], (1, 2.0)),
    ([1, [2, 3]], tuple[int, list[int]], (1, [2, 3])),
    ([1, 2], tuple, (1, 2)),
    ([2, 1, 2], set[int], {1, 2}),
    ([0.9, 1], tuple[float | Tensor, float | Tensor], (0.9, 1.0)),
    ([1, 2], Union[int, Sequence[int]], [1, 2]),  # noqa: UP007
    ({"a": 1}, Mapping[str, float], {"a": 1.0}),
    ("x/y", pathlib.Path, pathlib.Path("x/y")),
    ("x/y", str | pathlib.Path, "x/y"),
    ("red", Colour, Colour.red),
    ("b", Colour, Colour.blue),
    ("float16", torch.dtype, torch.float16),
    ("torch.uint8", torch.dtype, torch.uint8),
    ("cpu", torch.device, torch.device("cpu")),
    ("toy_ramp", Callable[[int], float], toy_ramp),
    (["toy_ramp"], Callable[[int], float] | list[Callable[[int], float]], [toy_ramp]),
    ({"x": 1}, Any, {"x": 1}),
    ({"x": 1}, object, {"x": 1}),
    ([1], T, [1]),
    (3, "Forward", 3),
    ("anything", Hook, "anything"),
]
MISFITS = [
    ("8", int, "a whole number"),
    (True, int, "a whole number"),
    (1.0, int, "a whole number"),
    ("8", float, "a number"),
    (False, float, "a number"),
    (1, bool, "true or false"),
    (1, str, "text"),
    (0, None, "null"),
    (2, Annotated[float, Interval(ge=0, le=1)], "a number from 0 to 1"),
    (True, Annotated[int, Ge(0)], "a whole number, 0 or more"),
    ("x", float | Tensor, "a number"),
    ("wild", Literal["thin", 2], "'thin' or 2"),
    (2.0, Literal["thin", 2], "'thin' or 2"),
    (1, list[int], "a list of whole numbers"),
    ("ab", Sequence[str], "a list of texts"),
    ([1, 2, 3], tuple[int, int], "a list of 2 whole numbers"),
    ([1], dict[str, int], "a mapping"),
    ("ab", int | Sequence[int] | None, "a whole number, a list of whole numbers or null"),
    (3, pathlib.Path, "a path"),
    ("green", Colour, "one of red or blue"),
    ("float17", torch.dtype, "a dtype such as float32"),
    ("floor", torch.device, "a device such as cpu"),
    ([1, "x"], Tensor, "a list of numbers"),
    ([[1], [1, 2]], Tensor, "a list of numbers"),
    ("toy_lamp", Callable[[int], float], "the name of a registered function"),
    ({"type": "toy_ramp"}, Callable[[int], float], "the name of a registered function"),
    (len, Callable[[int], float], "the name of a registered function"),
    ("x", nn.Module, "a Module object, which no config can write"),
    ("int", type[int], "a type object, which no config can write"),
    (3, os.PathLike[str], "a path"),
    (0, Annotated[float, Gt(0)], "a number above 0"),
    (2, Annotated[float, Interval(gt=0, le=1)], "a number above 0 and up to 1"),
    (2, Annotated[int, Lt(2)], "a whole number below 2"),
]


def without_address(value: object) -> str:
    """The same in every process: so tests are shared out among several."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))


@pytest.mark.parametrize(("value", "asked", "made"), FITS, ids=without_address)
def test_a_value_becomes_what_the_annotation_asks_for(value: Any, asked: Any, made: Any) -> None:
    fitted = fit(value, asked)
    assert (fitted, type(fitted)) == (made, type(made))


@pytest.mark.parametrize(("value", "asked", "expected"), MISFITS, ids=without_address)
def test_a_value_that_does_not_fit_is_told_what_would(value: Any, asked: Any, expected: str) -> None:
    with pytest.raises(Mismatch) as error:
        fit(value, asked)
    assert error.value.expected == expected


def test_a_misfit_is_found_inside() -> None:
    for value, asked, path in (
        ([1, "x"], list[int], (1,)),
        ({"a": [1, None]}, dict[str, list[int]], ("a", 1)),
        ([0.9, 1.5], Annotated[tuple[float, float], Interval(ge=0, lt=1)], (1,)),
        ([1, "x"], int | Sequence[int], (1,)),
    ):
        with pytest.raises(Mismatch) as error:
            fit(value, asked)
        assert error.value.path == path


def test_lists_become_tensors_of_floats() -> None:
    assert torch.equal(fit([1, 2, 3], Tensor | None), torch.tensor([1.0, 2.0, 3.0]))
    assert torch.equal(fit([[1], [2]], Tensor), torch.tensor([[1.0], [2.0]]))


def test_limits_of_other_kinds_are_left_alone() -> None:
    assert fit([1], Annotated[list[int], Len(1, 3)]) == [1]
    assert describe(Annotated[list[int], Len(1, 3)]) == "a list of whole numbers"


class Grand:
    def __init__(self, size: int, colour: str = "red") -> None: ...


class Parent(Grand):
    def __init__(self, depth: int = 2, **kwargs: Any) -> None:
        self.name = kwargs.pop("name", "x")
        super().__init__(colour="blue", **kwargs)


class Child(Parent):
    """No __init__ of its own."""


def builder(weights: Any = None, **kwargs: Any) -> Grand:
    return inner(3, weights, **kwargs)


def inner(size: int, weights: Any, **kwargs: Any) -> Grand:
    return Grand(size, **kwargs)


def either(kind: str, **kwargs: Any) -> Any:
    return Grand(**kwargs) if kind == "grand" else toy_ramp(**kwargs)


def swallow(**kwargs: Any) -> Any:
    return kwargs


def unknown(call: Callable[..., Any], **kwargs: Any) -> Any:
    return call(**kwargs)


def around(**kwargs: Any) -> Any:
    return around(**kwargs)


@pytest.mark.parametrize(
    ("target", "names", "any_other"),
    [
        (Grand, ["size", "colour"], False),
        (Parent, ["depth", "name", "size"], False),
        (Child, ["depth", "name", "size"], False),
        (builder, ["weights", "colour"], False),
        (either, ["kind", "size", "colour", "step", "length"], False),
        (swallow, [], True),
        (unknown, ["call"], True),
        (around, [], True),
        (len, [], False),
    ],
)
def test_keyword_arguments_are_followed_to_where_they_go(target: Any, names: list[str], any_other: bool) -> None:
    known, other = parameters(target)
    assert (list(known), other) == (names, any_other)


def test_the_builders_of_torchvision_take_what_their_classes_take() -> None:
    from torchvision import models

    known, other = parameters(models.resnet18)
    assert {"num_classes", "zero_init_residual", "width_per_group"} <= set(known) and "block" not in known and not other
    known, other = parameters(models.vit_b_16)
    assert {"num_classes", "image_size", "dropout"} <= set(known) and "patch_size" not in known and not other


def test_without_an_annotation_the_default_says_the_type() -> None:
    def plain(a, b=1, c=0.5, d=None, e=(1, 2), f=True, g=len): ...

    known, _ = parameters(plain)
    assert [annotation(plain, p) for p in known.values()] == [Any, int, float, Any, tuple, bool, Any]


def test_arguments_are_made_ready_for_the_call() -> None:
    assert convert(optim.Adam, {"lr": 1, "betas": [0.9, 0.99]}) == {"lr": 1.0, "betas": (0.9, 0.99)}
    made = convert(nn.CrossEntropyLoss, {"weight": [1, 2], "size_average": None})
    assert torch.equal(made["weight"], torch.tensor([1.0, 2.0])) and made["size_average"] is None
    assert convert(swallow, {"x": [1]}) == {"x": [1]}
    with pytest.raises(ValueError, match=r"lr does not fit; expected a number, 0 or more"):
        convert(optim.Adam, {"lr": "x"})


def test_null_is_welcome_where_it_is_the_default() -> None:
    def careless(size: int = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert convert(careless, {"size": None}) == {"size": None}


def test_what_the_program_supplies() -> None:
    def score(output: Tensor, target: Tensor, k: int = 1) -> Tensor: ...

    assert METRICS.supplied_to(score) == ("output", "target")
    assert LOSSES.supplied_to(nn.CrossEntropyLoss) == ()
    assert REGISTRIES["OPTIMIZERS"].supplied_to(optim.SGD) == ("params", "fused")
    assert FUNCTIONS.supplied_to(toy_ramp) == ("step",)


def test_ranges_name_parameters_that_are_there_and_hold_their_defaults() -> None:
    from torchvision import models
    from torchvision.transforms import v2

    classes = {
        "torch.optim.lr_scheduler": [c for c in vars(lr_scheduler).values() if inspect.isclass(c)],
        "torch.optim": [c for c in vars(optim).values() if inspect.isclass(c)],
        "torch.nn": list(library.torch_losses().values()),
        "torchvision.models": [models.resnet18, models.vit_b_16, models.alexnet],
        "torchvision.transforms": [v2.RandomHorizontalFlip, v2.RandomErasing],
    }
    for module, ranges in RANGES.items():
        known = [(target, p) for target in classes[module] for p in parameters(target)[0].values()]
        assert not ranges.keys() - {p.name for _, p in known}, module
        for target, p in known:
            if p.name in ranges and p.default not in (inspect.Parameter.empty, None):
                fit(list(p.default) if isinstance(p.default, tuple) else p.default, annotation(target, p))


def test_a_deprecated_class_takes_what_it_took_before() -> None:
    taken, other = parameters(LOSSES.get("NLLLoss2d"))
    assert list(taken) == ["weight", "size_average", "ignore_index", "reduce", "reduction"] and not other


def test_every_adopted_name_has_a_signature_that_can_be_read() -> None:
    for adopt in (library.torch_losses, library.torch_optimizers, library.torch_schedulers, library.torch_samplers):
        for target in adopt().values():
            known, _ = parameters(target)
            assert all(describe(annotation(target, p)) for p in known.values())
