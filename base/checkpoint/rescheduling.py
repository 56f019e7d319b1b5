"""Restores optimizers and schedules, and replays schedules whose config has changed.

After a change the rates are those of a fresh run with the new config at the step where this one stands: a schedule
that is made otherwise than the saved one is replayed from the beginning. A ReduceLROnPlateau keeps its own state.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from itertools import repeat
from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

from base.errors import DEFAULT, ConfigError, Fault
from base.loop.optim import SCHEDULED, Schedule, learning_rates_of
from base.loop.train_state import TrainState
from utils.formatting import pluralize

if TYPE_CHECKING:
    from base.checkpoint.state import RunningTrainer

JUMP = 1.1
"""A rate that rises by more than this factor is said to rise."""
_KEPT = {"fused"}
"""Options that the saved state depends on."""
log = logging.getLogger(__name__)


def restore_optimizers(trainer: RunningTrainer, state: Mapping[str, Any], touched: Collection[str] = ()) -> None:
    """Loads every optimizer and schedule from the state of a save. `trainer.progress` says where the run stands.

    `touched` are the words of all keys that were changed by force: saves of older versions do not say what their
    schedules were made of. ConfigError, by the key alone, if a changed schedule cannot span the run.
    """
    differing = {n: _differing(s, state["schedules"][n].get("made"), touched) for n, s in trainer.schedules.items()}
    replayed = {}
    for name, schedule in trainer.schedules.items():
        saved, changed = state["schedules"][name], differing[name]
        if schedule.links and (touched or changed is not None):
            _refuse_what_is_too_short(trainer, schedule, saved)
        if changed is None or changed.isdisjoint(SCHEDULED):
            schedule.load_state_dict(saved)
        else:
            schedule.replay(_units_done(trainer, schedule, saved))
            groups = schedule.optimizer.param_groups
            replayed[name] = [{k: group[k] for k in SCHEDULED if k in group} for group in groups]
    for name, optimizer in trainer.optimizers.items():
        optimizer.load_state_dict(state["optimizers"][name])
    planned = learning_rates_of(trainer.optimizers.values())
    for name, schedule in trainer.schedules.items():
        for group, given in zip(schedule.optimizer.param_groups, schedule.given, strict=False):  # some may be added
            group.update({k: given[k] for k in (differing[name] or set()) - {*SCHEDULED, *_KEPT} if k in given})
        if name in replayed:
            for group, rates in zip(schedule.optimizer.param_groups, replayed[name], strict=True):
                for option in SCHEDULED:  # the schedule before may have left more than this one sets
                    group.pop(option, None)
                group.update(rates)
            _keep_plateau(schedule, state["schedules"][name], state["optimizers"][name]["param_groups"])
    _tell(trainer, planned, [name for name in replayed if "lr" not in (differing[name] or ())])


def _differing(schedule: Schedule, before: Mapping[str, Any] | None, touched: Collection[str]) -> set[str] | None:
    """The options of groups that the config gives otherwise than when the run was saved, and `initial_lr` if the
    schedule does; None if everything is as it was."""
    now = schedule.made
    if before is None:
        return {"initial_lr", *touched} if touched else None
    options = {
        option
        for new, old in zip(now["groups"], before["groups"], strict=False)
        for option in new.keys() | old.keys()
        if new.get(option) != old.get(option)
    }
    return options | ({"initial_lr"} if now["links"] != before["links"] else set()) or None


def units_until(trainer: RunningTrainer, progress: TrainState, to_the_end: bool = False) -> Iterator[str]:
    """What advanced the schedules up to here, or will have at the end: `step`, `epoch` and `monitor` in their order.

    Epochs done are taken to be equally long.
    """
    before, done = progress.step - progress.epoch_step, progress.epoch - 1
    ends = {round(before * epoch / done): epoch for epoch in range(1, done + 1)}
    if progress.phase == "epoch end":
        ends[progress.step] = progress.epoch
    if to_the_end and progress.epoch <= trainer.epochs:
        in_training = progress.phase in ("train", "evaluate")
        end = max(before + trainer.steps_per_epoch, progress.step) if in_training else progress.step
        ends |= {end + i * trainer.steps_per_epoch: progress.epoch + i for i in range(trainer.epochs - done)}
    every, monitored = trainer.settings.validate_every, trainer.monitor.name
    pending = progress.step if progress.phase == "evaluate" and not to_the_end else None
    of_valid = monitored.startswith("val_")
    for step in range(1, max([progress.step, *ends]) + 1):
        yield "step"
        if of_valid and every.steps and step % every.steps == 0 and step != pending:
            yield "monitor"
        if step in ends:
            yield "epoch"
            if monitored and not (of_valid and (every.steps or ends[step] % every.epochs)):
                yield "monitor"


def _units_done(
    trainer: RunningTrainer, schedule: Schedule, saved: Mapping[str, Any], to_the_end: bool = False
) -> Iterator[str]:
    if schedule.links and not schedule.links[0].every:  # a trainer with an epoch of its own steps it
        progress = trainer.progress
        epochs = progress.epoch - (progress.phase != "epoch end")
        return iter(repeat("", (saved["scheduler"] or {}).get("last_epoch", epochs)))
    return units_until(trainer, trainer.progress, to_the_end)


def _refuse_what_is_too_short(trainer: RunningTrainer, schedule: Schedule, saved: Mapping[str, Any]) -> None:
    """A rehearsal of the whole run. OneCycleLR fails when it is over, and so may a schedule of the user's."""
    rehearsal, units = schedule.afresh(), _units_done(trainer, schedule, saved, to_the_end=True)
    try:
        rehearsal.replay(units)
    except Exception as error:
        progress, link = trainer.progress, schedule.links[rehearsal.current]
        begun = progress.epoch if progress.epoch_step else progress.epoch - 1
        if trainer.epochs < begun:
            what = f"the run has begun its epoch {begun}, and {link.type} cannot go back"
            raise _fault("trainer.epochs", what, str(trainer.epochs), f"{begun} or more") from error
        needed = rehearsal.done + sum(unit == link.every for unit in units)
        needed = needed if link.steps is None else min(needed, link.steps)
        what = f"{link.type} fails after {pluralize(rehearsal.done - 1, link.every)} of {needed}: {error}"
        if link.type != "OneCycleLR":
            raise _fault(link.place, what, hint="give it arguments that last for the whole run") from error
        whole = needed == trainer.epochs * trainer.steps_per_epoch and link.every == "step"
        length = "'${trainer.total_steps}'" if whole else str(needed)
        key = f"{link.place}.args.total_steps"
        raise _fault(key, "over before the training is, and then it fails", hint=f"write {key}={length}") from error


def _fault(key: str, what: str, found: str = "", expected: str = "", hint: str = "") -> ConfigError:
    return ConfigError([Fault(DEFAULT, key, what, found, expected, hint)])


def _keep_plateau(schedule: Schedule, saved: Mapping[str, Any], groups: list[dict[str, Any]]) -> None:
    """The best value and the patience used up go on; so does the share of the first rate that is left."""
    scheduler, before = schedule.scheduler, saved["scheduler"] or {}
    if not isinstance(scheduler, ReduceLROnPlateau) or "num_bad_epochs" not in before:
        return
    if before["mode"] == scheduler.mode:
        scheduler.best, scheduler.num_bad_epochs = before["best"], before["num_bad_epochs"]
    scheduler.cooldown_counter, scheduler.last_epoch = before["cooldown_counter"], before["last_epoch"]
    for group, old, least in zip(schedule.optimizer.param_groups, groups, scheduler.min_lrs, strict=True):
        first, was_first = group["initial_lr"], old["initial_lr"]
        left = old["lr"] if first == was_first else first * (old["lr"] / was_first if was_first else 1)
        group["lr"] = max(left, min(least, first))
    scheduler._last_lr = [group["lr"] for group in schedule.optimizer.param_groups]


def _tell(trainer: RunningTrainer, planned: Mapping[str, float], unasked: Collection[str]) -> None:
    """One line if the next step takes another rate than the last one, and than it would have; `unasked` are the
    optimizers whose own rate was not changed by the user."""
    now, last = learning_rates_of(trainer.optimizers.values()), trainer.progress.rates or planned
    changed = {
        name for name in now if not any(math.isclose(now[name], old[name], rel_tol=1e-9) for old in (planned, last))
    }
    if not changed:
        return
    rates = ", ".join(f"{name} {last[name]:g} -> {now[name]:g}" for name in now if name in changed)
    rising = any(now[name] > JUMP * last[name] for name in changed)
    words = " ".join(_words_to_keep(trainer, name) for name in unasked) if rising else ""
    hint = f"; to keep it low, add {words}" if words else ""
    log.log(
        logging.WARNING if words else logging.INFO,
        "the learning rate %s at step %d: %s%s",
        *("jumps" if rising else "changes", trainer.progress.step + 1, rates, hint),
    )


def _words_to_keep(trainer: RunningTrainer, name: str) -> str:
    """Overrides under which an optimizer goes on at the rates of the last step."""
    optimizer, settings = trainer.optimizers[name], trainer.parts.settings
    rates = dict(zip(learning_rates_of(trainer.optimizers.values()), _owners(trainer), strict=True))
    label, group = next((label, i) for label, (owner, i) in rates.items() if owner == name)
    rate = trainer.progress.rates.get(label, optimizer.param_groups[group]["lr"])
    scale = trainer.schedules[name].given[group]["lr"] / optimizer.defaults["lr"]
    chain = f"lr_scheduler.{name}" if isinstance(settings.lr_scheduler, dict) else "lr_scheduler"
    return f"{settings.place('optimizer', name)}.args.lr={rate / scale:.6g} {chain}=null"


def _owners(trainer: RunningTrainer) -> Iterator[tuple[str, int]]:
    for name, optimizer in trainer.optimizers.items():
        for i in range(len(optimizer.param_groups)):
            yield name, i
