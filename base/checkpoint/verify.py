"""Checks what a checkpoint holds before anything of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from base.checkpoint.changed_counts import look_at_counts
from base.checkpoint.component_load import check, prepare
from base.checkpoint.expected import (
    MOST,
    amount,
    count,
    described,
    hides_nothing,
    loading,
    mapping,
    need,
    same_kind,
    same_names,
    similar,
)
from base.checkpoint.format import MANIFEST, MODEL, RAW, STATE, Checkpoint
from base.checkpoint.restore import check_weights
from base.checkpoint.verify_optimizers import check_optimizer, check_schedule
from base.errors import listing
from base.loop.metrics import BATCHES, LossMeans
from base.loop.nan_guard import NonFiniteGuard
from base.loop.train_state import PHASES, Monitor, TrainState
from base.protocols import batches_in
from utils.seed import rng_state

if TYPE_CHECKING:
    from base.checkpoint.state import RunningTrainer

_PARTS = (
    "progress", "optimizers", "schedules", "averaged", "precision", "monitor", "guard", "metrics", "losses", "data",
    "components", "learned", "config", "ranks", "logs",
)  # fmt: skip


def check_save(saved: Checkpoint) -> None:
    """What can be said of a save before there is a trainer. CheckpointError names the file, the key, what was found and
    what was expected."""
    check_info(saved)
    info = saved.info
    with loading(saved.path / STATE):
        state = same_names(_PARTS, saved.state, "the state", others=True)
        _check_progress(state["progress"], info)
        _check_monitor(state["monitor"], state["progress"])
        _check_guard(state["guard"])
        _check_losses(state["losses"])
        _check_ranks(state["ranks"])
        _check_learned(state["learned"])
        need(state["config"] is None or isinstance(state["config"], dict), "config", state["config"], "a dict")
        for name, length in mapping(state["logs"], "logs").items():
            need(isinstance(name, str), "logs", name, "the names of files")
            count(length, f"logs[{name!r}]")


def check_info(saved: Checkpoint) -> None:
    """The manifest's part of `check_save`: where the run stood, and what was decided of its data."""
    with loading(saved.path / MANIFEST):
        info = same_names(("step", "epoch", "phase", "data"), saved.info, "the manifest", others=True)
        count(info["step"], "step")
        count(info["epoch"], "epoch", low=1)
        data = same_names(("data", "fingerprint"), info["data"], "data", others=True)
        need(isinstance(data["data"], str), "data['data']", data["data"], "a text")
        for name in ("fingerprint", "in_memory", "facts"):
            mapping(data.get(name, {}), f"data[{name!r}]")


def check_fit(trainer: RunningTrainer, saved: Checkpoint, forced: bool) -> None:
    """That the run can go on with all of the save: shapes, dtypes, names and counts. Loads nothing.

    Where the user has `forced` a changed config, parts that the save knows and the run has no more are passed over.
    """
    if saved.info["format"] == 1:
        look_at_counts(trainer, saved)
    raw, state, parts, states = saved.raw(), saved.state, trainer.parts, trainer.states
    with loading(saved.path / STATE):
        prepare(states, state["components"], sum(file["bytes"] for file in saved.info["files"].values()))
    check_weights(trainer.evaluated, saved.weights(), saved.path / MODEL)
    with loading(saved.path / MANIFEST):
        files, averaged = sorted(saved.info["files"]), "with" if parts.averages else "without"
        others = [path for path in saved.frozen if not isinstance(states.objects.get(path), nn.Module)]
        need(forced or not others, "frozen", others, "the paths of modules of this run")
        need((raw is None) == (not parts.averages), "files", files, f"those {averaged} {RAW}")
    if raw is not None:
        check_weights(trainer.models, raw, saved.path / RAW)
    with loading(saved.path / STATE):
        for name, number in same_names(parts.averages, state["averaged"], "averaged").items():
            count(number, f"averaged[{name!r}]")
        optimizers = same_names(trainer.optimizers, state["optimizers"], "optimizers", others=forced)
        for name, optimizer in trainer.optimizers.items():
            check_optimizer(optimizer, optimizers[name], f"optimizers[{name!r}]")
        schedules = same_names(trainer.schedules, state["schedules"], "schedules", others=forced)
        for name, schedule in trainer.schedules.items():
            check_schedule(schedule, schedules[name], f"schedules[{name!r}]", forced)
        _check_place(trainer, state["progress"])
        _check_precision(trainer.precision.state_dict(), state["precision"], forced)
        _check_metrics(trainer, state["metrics"], forced)
        mapping(state["data"], "data")
        check(states, state["components"], passed_over=forced)
        frozen = {path: {"state_dict": weights} for path, weights in saved.frozen.items()}
        check(states, {path: its for path, its in frozen.items() if not path.startswith("models.")}, passed_over=True)


def _check_progress(saved: Any, info: dict[str, Any]) -> None:
    fresh = TrainState().state_dict()
    saved = same_names(fresh, saved, "progress", later=("rates",))
    for name, value in fresh.items():
        key = f"progress[{name!r}]"
        if isinstance(value, int):
            count(saved[name], key, low=value if name == "epoch" else 0)
        elif isinstance(value, float):
            amount(saved[name], key, low=0)
    for name, rate in mapping(saved.get("rates", {}), "progress['rates']").items():
        amount(rate, f"progress['rates'][{name!r}]")
    need(saved["phase"] in PHASES, "progress['phase']", saved["phase"], listing(map(repr, PHASES)))
    for name in ("step", "epoch", "phase"):
        need(saved[name] == info[name], f"progress[{name!r}]", saved[name], f"{info[name]!r}, as in {MANIFEST}")
    # An epoch and a pass take at least a step each.
    for name, most in (("epoch_step", saved["step"]), ("pass_", saved["step"]), ("epoch", saved["step"] + 1)):
        count(saved[name], f"progress[{name!r}]", high=most)


def _check_place(trainer: RunningTrainer, progress: dict[str, Any]) -> None:
    """In the midst of an epoch the data are what they were: no pass has more batches."""
    if progress["phase"] != "epoch end":
        most = batches_in(trainer.data.train)
        count(progress["batch"], "progress['batch']", high=MOST if most is None else most)


def _check_monitor(saved: Any, progress: dict[str, Any]) -> None:
    saved = same_names(Monitor().state_dict(), saved, "monitor", later=("not_finite", "told"))
    for name in ("best", "reference"):
        value = saved[name]
        right = value is None or (type(value) in (int, float) and not math.isnan(value))
        need(right, f"monitor[{name!r}]", value, "None or a number")
    if saved["best_epoch"] is not None:
        count(saved["best_epoch"], "monitor['best_epoch']", high=progress["epoch"])
    for name in ("waited", "not_finite"):
        count(saved.get(name, 0), f"monitor[{name!r}]", high=progress["step"] + progress["epoch"])
    told = saved.get("told", False)
    need(isinstance(told, bool), "monitor['told']", told, "True or False")


def _check_guard(saved: Any) -> None:
    fresh = NonFiniteGuard("stop", 0, deferred=False).state_dict()
    saved = same_names(fresh, saved, "guard")
    for name, value in fresh.items():
        if isinstance(value, int):
            count(saved[name], f"guard[{name!r}]")
    exempt = saved["exempt"]
    right = isinstance(exempt, list) and all(isinstance(name, str) for name in exempt)
    need(right, "guard['exempt']", exempt, "a list of buffers' names")


def _check_learned(saved: Any) -> None:
    """Indices of samples by the name of the part, and what else was learned, which is the dataset's own affair."""
    for name, indices in mapping(mapping(saved, "learned").get("split"), "learned['split']").items():
        right = isinstance(indices, Tensor) and indices.dtype == torch.int64 and indices.dim() == 1
        right = right and (not len(indices) or int(indices.min()) >= 0)
        need(right, f"learned['split'][{name!r}]", indices, "an int64 tensor of indices from 0")


def _check_ranks(saved: Any) -> None:
    """One entry for each process, of which there is one."""
    need(isinstance(saved, list) and len(saved) == 1, "ranks", saved, "a list of 1, as one process trains")
    rank = same_names(("generators", "threads"), saved[0], "ranks[0]")
    if rank["threads"] is not None:
        count(rank["threads"], "ranks[0]['threads']", low=1, high=1 << 16)
    _check_generators(rank["generators"], "ranks[0]['generators']")


def _check_generators(saved: Any, key: str) -> None:
    """Python's, NumPy's and torch's; those of devices are checked by torch, which leaves out what is not there."""
    fresh = {name: state for name, state in rng_state().items() if name in ("python", "numpy", "torch")}
    saved = same_names(fresh, saved, key, others=True)
    for name, state in fresh.items():
        same_kind(state, saved[name], f"{key}[{name!r}]")
    gauss = saved["python"]["gauss"]
    need(gauss is None or type(gauss) is float, f"{key}['python']['gauss']", gauss, "None or a number")
    words = fresh["numpy"]["words"].numel()
    count(saved["numpy"]["position"], f"{key}['numpy']['position']", high=words)  # NumPy reads there unasked
    count(saved["numpy"]["has_gauss"], f"{key}['numpy']['has_gauss']", high=1)


def _check_losses(saved: Any) -> None:
    fresh = LossMeans().state_dict()
    saved = same_names(fresh, saved, "losses")
    count(saved["samples"], "losses['samples']")
    names, means = saved["parts"], mapping(saved["means"], "losses['means']")
    right = isinstance(names, list) and all(isinstance(name, str) for name in names)
    need(right, "losses['parts']", names, "a list of losses' names")
    for name, numbers in means.items():
        key = f"losses['means'][{name!r}]"
        for kind, number in same_names(("sum", "count", "logged_sum", "logged_count"), numbers, key).items():
            right = type(number) in (int, float) and (not kind.endswith("count") or 0 <= number < math.inf)
            need(right, f"{key}[{kind!r}]", number, "a number, from 0 on if it counts")


def _check_precision(fresh: dict[str, Any], saved: Any, forced: bool) -> None:
    """The state of fp16's scaler: `_growth_tracker` counts, `scale` moves, all else is constant."""
    saved = mapping(saved, "precision")
    if not fresh and forced:
        return
    for name, value in same_names(fresh, saved, "precision").items():
        key = f"precision[{name!r}]"
        if name == "_growth_tracker":
            count(value, key)
        elif name == "scale":
            amount(value, key, low=0)
            need(value > 0, key, value, "a number above 0")
        else:
            need(value == fresh[name] and type(value) is type(fresh[name]), key, value, repr(fresh[name]))


def _check_shapes(fresh: Any, saved: Any, key: str) -> None:
    """A tensor of a metric keeps its shape, but one that is empty or a single number may grow."""
    for name in fresh.keys() & saved.keys() if isinstance(fresh, Mapping) else ():
        there, found = fresh[name], saved[name]
        if isinstance(there, Tensor) and isinstance(found, Tensor) and there.numel() > 1:
            need(found.shape == there.shape, f"{key}[{name!r}]", found, described(there))
        if isinstance(found, int) and name in ("count", "samples"):
            count(found, f"{key}[{name!r}]")


def _check_metrics(trainer: RunningTrainer, saved: Any, forced: bool) -> None:
    saved = same_names(("metrics", "block"), saved, "metrics")
    states = same_names(trainer.train_metrics.data, saved["metrics"], "metrics", others=forced)
    for name, metric in trainer.train_metrics.data.items():
        key = f"metrics[{name!r}]"
        similar(metric.state_dict(), mapping(states[name], key), key)
        _check_shapes(metric.state_dict(), states[name], key)
        hides_nothing(metric, states[name], key)
    block = saved["block"]
    need(
        isinstance(block, list) and len(block) <= BATCHES,
        "metrics['block']",
        block,
        f"a list of up to {BATCHES} batches",
    )
    for number, pair in enumerate(block):
        key = f"metrics['block'][{number}]"
        right = isinstance(pair, list) and len(pair) == 2 and all(hasattr(one, "dim") and one.dim() for one in pair)
        need(right and len(pair[0]) == len(pair[1]), key, pair, "outputs and targets of as many samples")
