"""Checks the state of optimizers and schedules in a checkpoint against the run's own.

What the state of a parameter looks like is not known here: Adam has two moments, Adafactor a row and a column, a user's
optimizer anything. So a copy of the optimizer takes one step with a parameter of zeros of the same shape, and what it
then holds is the pattern.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from base.checkpoint.expected import (
    MOST,
    amount,
    count,
    described,
    hides_nothing,
    mapping,
    need,
    same_kind,
    same_names,
    same_scalar,
    same_tensor,
    similar,
)
from base.loop.optim import Schedule

_SETTLED = ("capturable", "differentiable")
"""Options of a group that this program decides, and no config."""
_COUNTS = {"last_epoch", "_step_count", "num_bad_epochs", "cooldown_counter", "T_cur", "T_i"}
_MOVING = {*_COUNTS, "_last_lr", "best"}
"""What changes in torch's schedulers as they go; all else is as the config says, saved or not."""


def check_optimizer(optimizer: Optimizer, saved: Any, key: str) -> None:
    """Unfit if `saved` is no `state_dict` that this optimizer could have: groups, options, shapes, dtypes, counts."""
    there = optimizer.state_dict()
    saved = same_names(("state", "param_groups"), saved, key, others=not _is_torchs(optimizer))
    groups = saved["param_groups"]
    need(isinstance(groups, list), f"{key}.param_groups", groups, "a list")
    expected = f"a list of {len(there['param_groups'])}"
    need(len(groups) == len(there["param_groups"]), f"{key}.param_groups", groups, expected)
    for number, (own, group) in enumerate(zip(there["param_groups"], groups, strict=True)):
        _check_group(optimizer, own, group, f"{key}.param_groups[{number}]")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    patterns = _Patterns(optimizer)
    for number, values in mapping(saved["state"], f"{key}.state").items():
        place = f"{key}.state[{described(number)}]"
        if type(number) is int and 0 <= number < len(parameters):
            _check_parameter(optimizer, patterns, parameters[number], values, place)
        else:  # a user's optimizer may keep what belongs to no parameter
            need(not _is_torchs(optimizer), place, values, f"state of the parameters 0 to {len(parameters) - 1}")


def _check_group(optimizer: Optimizer, own: Mapping[str, Any], saved: Any, key: str) -> None:
    probe = _copy_of(optimizer)
    saved = mapping(saved, key)
    probe.__setstate__({"state": {}, "param_groups": [dict(saved)]})  # options that torch had not when it was saved
    saved = same_names(own.keys(), probe.param_groups[0], key, others=True)
    need(saved["params"] == own["params"], f"{key}['params']", saved["params"], described(own["params"]))
    for name, value in saved.items():
        place = f"{key}[{name!r}]"
        need(isinstance(name, str), place, value, "options by name")
        if name in _SETTLED:
            need(value is own.get(name), place, value, repr(own.get(name)))
        elif name in ("lr", "initial_lr") and not isinstance(value, Tensor):
            amount(value, place, low=0)
        elif name in own:
            same_kind(own[name], value, place)
        else:  # of the scheduler whose turn it was: OneCycleLR keeps its bounds there
            need(type(value) in (bool, int, float, str, type(None)), place, value, "a single value")


class _Patterns:
    """What the state of a parameter looks like after one step; None where that cannot be found out."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        self._known: dict[Any, dict[str, Any] | None] = {}

    def of(self, parameter: Tensor) -> dict[str, Any] | None:
        if own := self.optimizer.state.get(parameter):  # some, as Adagrad, have it from the beginning
            return dict(own)
        group = self._group_of[id(parameter)]
        form = (id(group), parameter.shape, parameter.dtype, parameter.device)
        if form not in self._known:
            self._known[form] = self._found_out(parameter, group)
        return self._known[form]

    def _found_out(self, parameter: Tensor, group: Mapping[str, Any]) -> dict[str, Any] | None:
        """SparseAdam takes sparse gradients alone; one that needs a closure takes none of both."""
        gradients: list[Callable[[Tensor], Tensor]] = [torch.zeros_like, lambda p: torch.zeros_like(p).to_sparse(1)]
        for gradient in gradients:
            stand_in = torch.zeros_like(parameter).requires_grad_()
            probe = _copy_of(self.optimizer)
            probe.param_groups = [{**group, "params": [stand_in]}]
            try:
                stand_in.grad = gradient(parameter.detach())
                type(probe).step(probe)
            except Exception:  # a user's step may raise whatever it likes
                continue
            return dict(probe.state[stand_in])
        return None


def _copy_of(optimizer: Optimizer) -> Optimizer:
    """One of the same class with the same options that has no parameters yet; nothing it does reaches the other."""
    probe: Optimizer = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        if name != "step":  # a scheduler has put it there, and it is bound to the other
            vars(probe)[name] = value.copy() if isinstance(value, dict | list | set) else value
    probe.state, probe.param_groups = defaultdict(dict), []
    return probe


def _check_parameter(optimizer: Optimizer, patterns: _Patterns, parameter: Tensor, saved: Any, key: str) -> None:
    saved, pattern = mapping(saved, key), patterns.of(parameter)
    if pattern is None or not saved:
        return
    for name, value in same_names(pattern.keys(), saved, key, others=True).items():
        place, there = f"{key}[{name!r}]", pattern.get(name)
        if isinstance(there, Tensor):
            if _is_torchs(optimizer) or there.shape in (parameter.shape, ()):
                same_tensor(there, value, place)
            if name == "step":
                amount(value.item(), place, low=0)
                need(value.item() <= MOST, place, value.item(), "a number of steps")
        elif name == "step" and there is not None:
            (count if type(there) is int else amount)(value, place)
        elif not _is_torchs(optimizer):
            similar(there, value, place)
        elif isinstance(value, Tensor):
            same_tensor(parameter, value, place)
        else:
            same_scalar(there, value, place)


def check_schedule(schedule: Schedule, saved: Any, key: str, forced: bool) -> None:
    """Unfit if `saved` is no state of this chain. Where the user has `forced` other schedules than the run began with,
    names and lengths may differ."""
    saved = same_names(("current", "done", "scheduler", "made"), saved, key, later=("made",))
    _check_made(saved.get("made"), f"{key}['made']")
    last = max(0, len(schedule.links) - 1)
    current = count(saved["current"], f"{key}['current']", high=MOST if forced else last)
    count(saved["done"], f"{key}['done']")
    place = f"{key}['scheduler']"
    if schedule.scheduler is None:
        need(saved["scheduler"] is None or forced, place, saved["scheduler"], "None: there is no scheduler")
        return
    scheduler = schedule.scheduler
    if schedule.current != current <= last:
        scheduler = schedule.links[current].make(_with_stand_ins(schedule.optimizer))
    there, found = scheduler.state_dict(), mapping(saved["scheduler"], place)
    hides_nothing(scheduler, found, place)
    torchs = _is_torchs(scheduler)
    if torchs and not forced:
        same_names(_MOVING & there.keys(), found, place, others=True)
    for name in there.keys() & found.keys():
        compare = same_kind if torchs and not forced else similar
        compare(there[name], found[name], f"{place}[{name!r}]")
        if torchs and name in _COUNTS:
            count(found[name], f"{place}[{name!r}]")


def _check_made(made: Any, key: str) -> None:
    """What a schedule was made of: the options of each group, and `Link`'s type, args, every and steps."""
    if made is None:
        return
    made = same_names(("groups", "links"), made, key)
    for part, kind in (("groups", Mapping), ("links", tuple)):
        entries = made[part]
        right = isinstance(entries, list) and all(isinstance(entry, kind) for entry in entries)
        need(right, f"{key}[{part!r}]", entries, f"a list of {'dicts' if part == 'groups' else 'tuples'}")


def _with_stand_ins(optimizer: Optimizer) -> Optimizer:
    """A copy whose groups have parameters of their own, for a scheduler to be made for, which changes their options."""
    probe = _copy_of(optimizer)
    for group in optimizer.param_groups:
        options = {**group, "params": [torch.zeros((), requires_grad=True)]}
        probe.param_groups.append(options | {"lr": group.get("initial_lr", group["lr"])})
    return probe


def _is_torchs(one: object) -> bool:
    """What torch itself brings has state of one form throughout; that of a user's class may change as it goes."""
    return type(one).__module__.startswith("torch.")
