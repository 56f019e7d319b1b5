"""The lines printed at the start and at the end of a run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from base.checks.preflight import ShapeProbe
from base.config.arguments import substitute
from base.config.torch_facts import usual_unit
from base.discovery import flags
from base.errors import listing
from base.protocols import Loader, SetFacts
from utils.formatting import format_duration, format_significant, pluralize
from utils.model_summary import Layer, summarize
from utils.process import command

if TYPE_CHECKING:
    from base.build import Builder
    from base.loop.base_trainer import BaseTrainer

log = logging.getLogger(__name__)
_WIDTH = 10
_MOST_LAYERS = 40
"""Rows of the table of layers; a deeper model is shown by its blocks."""
_UNSAID = {"lr", "foreach", "capturable", "differentiable", "decoupled_weight_decay"}


def line(label: str, words: str) -> str:
    return f"{label:<{_WIDTH}} {words}"


def of_data(builder: Builder) -> Iterator[str]:
    """Device and datasets; nothing is read from a disk for it."""
    yield line("device", _device(builder.device))
    about, loaders = builder.data.about(), builder.loaders()
    held = builder.data.decisions["in_memory"]
    first = about["train"]
    in_memory = ", in memory" if all(one["in_memory"] for one in held.values()) else ""
    yield line("data", f"{_kind(first)}{in_memory}")
    for label in sorted(about, key=lambda label: ["train", "valid", "test"].index(label.partition("_")[0])):
        loader = loaders[label if label in loaders else label.partition("_")[2]]
        one = about[label]
        other = "" if (one.kind, one.input) == (first.kind, first.input) else f"{_kind(one)}: "
        yield line(f"  {label}", f"{other}{_size(loader)}{_balance(one)}")


def _size(loader: Loader) -> str:
    if loader.size is None:
        return f"a stream of unknown length in batches of {loader.batch_size:,}"
    batches = pluralize(len(loader), "batch", "batches")
    return f"{pluralize(loader.size, 'sample')} in {batches} of {min(loader.batch_size, loader.size):,}"


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        memory = torch.cuda.get_device_properties(device).total_memory
        return f"{device}, {torch.cuda.get_device_name(device)}, {memory / 2**30:.0f} GiB"
    return f"{device}, {pluralize(torch.get_num_threads(), 'thread')}"


def _kind(facts: SetFacts) -> str:
    reach = (
        ""
        if facts.low is None or facts.high is None
        else f" from {format_significant(facts.low)} to {format_significant(facts.high)}"
    )
    return ", ".join(filter(None, (facts.kind, f"{facts.input}{reach}")))


def _balance(facts: SetFacts) -> str:
    if not facts.class_counts:
        return ""
    low, high = min(facts.class_counts), max(facts.class_counts)
    return f", {len(facts.class_counts)} classes of {low:,}" + f" to {high:,}" * (low != high)


def of_training(builder: Builder, trainer: BaseTrainer, seen: ShapeProbe) -> Iterator[str]:
    """Model, optimizer, schedule and training, as they were built."""
    for name, model in trainer.models.items():
        known = [p for p in model.parameters() if not is_lazy(p)]  # a parameter that is used twice counts once
        total, trained = (sum(p.numel() for p in some) for some in (known, [p for p in known if p.requires_grad]))
        share = "" if trained == total else f", {trained:,} of them trained"
        yield line("model", f"{_named(name, 'model')}{type(model).__name__}, {total:,} parameters{share}")
        if name in seen.inputs:
            yield line("  input", seen.inputs[name])
        if name in seen.outputs:
            yield line("  output", seen.outputs[name])
        if frozen := trainer.parts.freezing[name].found_frozen():
            kept = listing([part or "all of it" for part in frozen], "and", most=3)
            yield line("  frozen", f"{kept}, by its own code: stays in eval mode (BatchNorm, Dropout)")
    for name, optimizer in trainer.optimizers.items():
        yield line("optimizer", f"{_named(name, 'optimizer')}{_optimizer(optimizer)}")
        yield line("  rate", _rate(builder, trainer, name))
    yield line("training", ", ".join(_training(trainer)))
    if (monitor := trainer.monitor).name:
        words = f"{'smallest' if monitor.mode == 'min' else 'largest'} {monitor.name}"
        patience = "" if monitor.patience is None else f"; stops after {monitor.patience} without a better one"
        yield line("best", words + patience)


def _optimizer(optimizer: Optimizer) -> str:
    """Its kind, the rate before any schedule, and what differs from its own defaults."""
    usual = {name: p.default for name, p in inspect.signature(type(optimizer)).parameters.items()}
    groups = optimizer.param_groups
    said = {k: v for k, v in optimizer.defaults.items() if k not in _UNSAID and v is not None and v != usual.get(k)}
    words = [type(optimizer).__name__, f"lr {_plain(optimizer.defaults['lr'])}"]
    words += [name if value is True else f"{name} {_plain(value)}" for name, value in said.items()]
    return ", ".join([*words, *([f"{len(groups)} groups"] if len(groups) > 1 else [])])


def _rate(builder: Builder, trainer: BaseTrainer, name: str) -> str:
    """The schedule of an optimizer, and the rate that it begins with."""
    links = []
    for link in builder.settings.schedules[name]:
        every = link.every or usual_unit(link.type)
        when = f"at each {every}" if every != "monitor" else f"by {trainer.monitor.name}"
        args = substitute(link.args, builder.facts)
        length = [f"for {pluralize(link.steps, every)}"] if link.steps else []
        links.append(", ".join([f"{link.type} {when}", *(f"{k} {_plain(v)}" for k, v in args.items()), *length]))
    first = dict.fromkeys(f"{float(group['lr']):.3g}" for group in trainer.optimizers[name].param_groups)
    return f"from {', '.join(first)}: {'; then '.join(links)}" if links else "stays as it is"


def _named(name: str, section: str) -> str:
    """Of several, each is named."""
    return "" if name == section else f"{name}: "


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _training(trainer: BaseTrainer) -> Iterator[str]:
    settings = trainer.settings
    yield f"{pluralize(settings.epochs, 'epoch')} of {pluralize(trainer.steps_per_epoch, 'step')}"
    if settings.accumulate > 1:
        yield f"{settings.accumulate} batches a step"
    if settings.precision != "fp32":
        yield settings.precision
    if settings.clip.norm:
        yield f"gradients clipped to norm {settings.clip.norm:g}"
    if settings.clip.value:
        yield f"gradients clipped to {settings.clip.value:g}"
    if settings.ema:
        yield f"average of the weights with decay {settings.ema.decay:g}"


def of_layers(trainer: BaseTrainer) -> Iterator[str]:
    """A table of each model: layer, kind, output shape of one sample, parameters, FLOPs of one sample, forward."""
    for name, model in trainer.models.items():
        summary = summarize(model, trainer.parts.calls.get(name))
        rows = [(row.name or "(itself)", row.kind, row.output, *_counts(row)) for row in _shortened(summary.layers)]
        heading = ("layer" if name == "model" else f"layer of {name}", "kind", "output", "parameters", "FLOPs")
        widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
        for cells in (heading, *rows):
            left = [f"{cell:<{width}}" for cell, width in zip(cells[:3], widths, strict=False)]
            right = [f"{cell:>{width}}" for cell, width in zip(cells[3:], widths[3:], strict=True)]
            yield "  ".join([*left, *right]).rstrip()
        if summary.trouble:
            yield f"outputs and FLOPs are not known: {summary.trouble}"


def _counts(layer: Layer) -> tuple[str, str]:
    return f"{layer.parameters:,}".lstrip("0"), f"{layer.flops:,}".lstrip("0")


def _shortened(layers: Sequence[Layer]) -> Sequence[Layer]:
    """Those that have something of their own; of many the blocks at the greatest depth that keeps the table short."""
    names = [layer.name for layer in layers]
    holders = {name.rpartition(".")[0] for name in names if name}
    layers = [layer for layer in layers if layer.parameters or layer.name not in holders]
    depth = max((name.count(".") + 1 for name in names), default=1)
    while len(layers) > _MOST_LAYERS and depth > 1:
        depth -= 1
        blocks: dict[str, list[Layer]] = {}
        for layer in layers:
            blocks.setdefault(".".join(layer.name.split(".")[:depth]), []).append(layer)
        layers = [_block(name, inner) for name, inner in blocks.items()]
    return layers


def _block(name: str, inner: Sequence[Layer]) -> Layer:
    if len(inner) == 1:
        return inner[0]
    sums = (sum(layer.parameters for layer in inner), inner[-1].output, sum(layer.flops for layer in inner))
    return Layer(name, pluralize(len(inner), "layer"), *sums)


def print_end(trainer: BaseTrainer, path: Path, reason: str) -> None:
    """How the run in `path` ended, what it reached, where it lies and what may be done next."""
    endings = {
        "finished": "finished",
        "early_stop": trainer.monitor.ending,
        "max_time": "out of time",
        "signal": "stopped, saved",
    }
    log.info("%s: %s", endings.get(reason, reason), path)
    for words in of_end(trainer):
        log.info("%s", words)
    runs, this = trainer.settings.save_dir, ("-r", path, *flags(trainer.parts.settings.plugins))
    if trainer.data.test:
        log.info("%s", line("  test", command("python", "test.py", *this)))
    log.info("%s", line("  resume", command("python", "train.py", *this)))
    log.info("%s", line("  compare", command("python", "tools/compare.py", runs)))
    log.info("%s", line("  watch", command("tensorboard", "--logdir", runs)))


def of_end(trainer: BaseTrainer) -> Iterator[str]:
    """The best epoch with its score, and the time that training took, over all processes that worked on the run."""
    monitor, progress = trainer.monitor, trainer.progress
    if monitor.best is not None:
        yield line("  best", f"epoch {monitor.best_epoch}, {monitor.name} {monitor.best:.6g}")
    yield line("  time", f"{format_duration(progress.seconds)} for {pluralize(progress.step, 'step')}")
