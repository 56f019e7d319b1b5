"""Checks a torch.nn loss against the outputs and targets it is given, before training."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from utils.formatting import format_significant

CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
BINARY = (nn.BCELoss, nn.BCEWithLogitsLoss)
DIFFERENCES = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
KNOWN = (*CLASSES, *BINARY, *DIFFERENCES)


@dataclass(frozen=True)
class Finding:
    """One mistake. `about` is the section of the config that mends it: loss, model, or data. A `fatal` one would stop
    the run, or leave it without anything to learn; the others train, though hardly as meant."""

    about: str
    what: str
    found: str = ""
    expected: str = ""
    hint: str = ""
    fatal: bool = True


def look_at(loss: nn.Module, output: Any, target: Any, counts: Sequence[int] = ()) -> Iterator[Finding]:
    """`output` and `target` as the loss is called with them; `counts`: the training samples of each class, if known."""
    plain = [
        isinstance(value, Tensor) and value.layout == torch.strided and value.numel() for value in (output, target)
    ]
    if not all(plain) or output.is_nested or output.is_complex():
        return
    found = _against_classes if isinstance(loss, CLASSES) else _against_numbers
    about_targets = list(found(loss, output, target, counts))
    yield from about_targets
    if not any(finding.fatal for finding in about_targets):
        yield from _scale(loss, output)


def is_class_numbers(loss: nn.Module, target: Tensor) -> bool:
    return isinstance(loss, CLASSES) and not target.is_floating_point()


def _against_classes(loss: Any, output: Tensor, target: Tensor, counts: Sequence[int]) -> Iterator[Finding]:
    name, count = type(loss).__name__, output.shape[1] if output.dim() > 1 else len(output)
    wanted = (*output.shape[:1], *output.shape[2:]) if output.dim() > 1 else ()
    if target.is_floating_point():
        if isinstance(loss, nn.NLLLoss) or target.shape != output.shape:
            yield _kind_of_target(name, target, "class numbers, int64", "give the targets as whole numbers: .long()")
        return
    if target.dtype not in (torch.int64, torch.uint8):
        yield _kind_of_target(name, target, "class numbers, int64", "give the targets as int64: .long()")
    elif target.shape != wanted:
        hint = "take the extra dimension away: .squeeze(1)" if target.numel() == output.numel() // count else ""
        if target.shape == output.shape:
            hint = "give class numbers, .argmax(1), or shares as floats, .float()"
        elif target.shape == output.shape[:-1]:
            yield _classes_last(name, output, target)
            return
        what = f"{name} takes one class number for each sample"
        yield Finding("data", what, f"targets of shape {_shape(target)}", f"{_shape(wanted)}", hint)
    else:
        yield from _range(name, target[target != loss.ignore_index], count, counts)


def _classes_last(name: str, output: Tensor, target: Tensor) -> Finding:
    """(B, T, C) is what models of sequences give."""
    wanted = (output.shape[0], output.shape[-1], *output.shape[1:-1])
    mend = ".transpose(1, 2)" if output.dim() == 3 else ".movedim(-1, 1)"
    found = f"outputs of shape {_shape(output)} and targets of {_shape(target)}"
    hint = f"end the model's forward with {mend}, or give a loss of your own that calls {name} with output{mend}"
    return Finding(
        "model",
        f"{name} takes the classes in dimension 1, and here they are last",
        found,
        f"outputs of {_shape(wanted)}",
        hint,
    )


def _range(name: str, target: Tensor, outputs: int, counts: Sequence[int]) -> Iterator[Finding]:
    if not target.numel():
        return
    low, high = (int(bound) for bound in target.aminmax())
    high = max([high, *(number for number, count in enumerate(counts) if count)])
    what = "the model's output and the targets do not fit"
    found = f"{outputs} values a sample, and classes from {low} to {high}"
    if low < 0:
        hint = f"for targets that do not count set loss.args.ignore_index: {low}"
        yield Finding("data", f"{name} takes classes counted from 0", f"targets from {low} to {high}", "", hint)
    elif high == outputs and low == 1:
        hint = "subtract 1 where the dataset gives its targets"
        yield Finding("data", "the classes are counted from 1", found, f"classes from 0 to {outputs - 1}", hint)
    elif high >= outputs:
        hint = 'num_classes: "${data.num_classes}"'
        yield Finding("model", what, found, f"{high + 1} values", f"give the model {hint}")
    elif 1 < len(counts) < outputs:
        hint = 'where that is not meant, num_classes: "${data.num_classes}"'
        yield Finding("model", "more outputs than classes", found, f"{len(counts)} values", hint, fatal=False)


def _against_numbers(loss: Any, output: Tensor, target: Tensor, counts: Sequence[int]) -> Iterator[Finding]:
    name = type(loss).__name__
    if not target.is_floating_point():
        hint = "give the targets as floats: .float()"
        if isinstance(loss, BINARY) and output.dim() == 2 and output.shape[1] > 2:
            hint = "for one of several classes use CrossEntropyLoss; for each by itself data.target_transform: OneHot"
        yield _kind_of_target(name, target, f"{_name(output)}, as the outputs are", hint)
    elif target.shape != output.shape and (isinstance(loss, BINARY) or target.numel() == output.numel() > 1):
        does = "compares pairs" if isinstance(loss, BINARY) else "would compare each output with every target"
        hint = "bring both to one shape: .unsqueeze(1) on the targets, or .squeeze(1) on the outputs"
        found = f"outputs of shape {_shape(output)}, targets of {_shape(target)}"
        yield Finding("data", f"{name} {does}", found, "equal shapes", hint)


def _scale(loss: Any, output: Tensor) -> Iterator[Finding]:
    """Logits, probabilities or their logarithms: which are they, and which does the loss take."""
    low, high = (bound.item() for bound in output.aminmax())
    reach = f"from {format_significant(low)} to {format_significant(high)}"
    if not (math.isfinite(low) and math.isfinite(high)):
        return
    if isinstance(loss, nn.BCELoss) and not (low >= 0 and high <= 1):
        hint = "use BCEWithLogitsLoss, or end the model with nn.Sigmoid()"
        yield Finding("loss", "BCELoss takes probabilities", f"outputs {reach}", "from 0 to 1", hint)
    if output.dim() < 2 or output.shape[1] < 2 or not isinstance(loss, CLASSES):
        return
    if isinstance(loss, nn.NLLLoss) and not _sums_to_one(output.exp()):
        given = "probabilities" if _sums_to_one(output) and low >= 0 else f"outputs {reach}"
        hint = "use CrossEntropyLoss on logits, or end the model with nn.LogSoftmax(dim=1)"
        what, expected = "NLLLoss takes logarithms of probabilities", "exp(outputs) of a sample to sum to 1"
        yield Finding("loss", what, given, expected, hint)
    elif isinstance(loss, nn.CrossEntropyLoss) and low >= 0 and _sums_to_one(output):
        hint = "take the softmax out of the model: the loss has its own, and twice it hardly learns"
        found = "outputs that sum to 1 for each sample"
        yield Finding("loss", "CrossEntropyLoss takes logits", found, "any numbers", hint, fatal=False)


def _sums_to_one(values: Tensor) -> bool:
    sums = values.double().sum(1)
    return torch.allclose(sums, torch.ones_like(sums), atol=1e-2)  # bf16 has three digits


def has_sigmoid(output: Any) -> bool:
    """True of what a sigmoid gave, with gradients on; untrained logits may lie between 0 and 1 by chance."""
    return isinstance(output, Tensor) and output.grad_fn is not None and "SigmoidBackward" in output.grad_fn.name()


def losses_in(criterion: Any, place: str, depth: int = 4) -> Iterator[tuple[str, nn.Module]]:
    """The losses of torch.nn in a criterion, each with its place: itself, or those that it is put together from."""
    if isinstance(criterion, nn.Module):
        yield from ((place, module) for module in criterion.modules() if isinstance(module, KNOWN))
    elif depth and isinstance(criterion, Mapping):
        for name, value in criterion.items():
            yield from losses_in(value, f"{place}.{name}", depth - 1)
    elif depth and isinstance(criterion, tuple | list):
        for value in criterion:
            yield from losses_in(value, place, depth - 1)
    elif depth and callable(criterion):
        for name, value in getattr(criterion, "__dict__", {}).items():
            yield from losses_in(value, f"{place}.terms" if name == "terms" else place, depth - 1)


def _kind_of_target(name: str, target: Tensor, expected: str, hint: str) -> Finding:
    return Finding(
        "data", f"{name} does not take such targets", f"{_name(target)} of shape {_shape(target)}", expected, hint
    )


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor | tuple[int, ...]) -> str:
    return str(tuple(tensor.shape if isinstance(tensor, Tensor) else tensor))
