"""After a forced change, the rates of a resumed run are those of a fresh run with the new config at the same step."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from base.checkpoint.rescheduling import restore_optimizers
from base.errors import ConfigError
from base.loop.optim import Link, Schedule, learning_rates_of
from base.loop.train_state import TrainState

STEPS = 3
Args = dict[str, Any]
SCHEDULERS: dict[str, Callable[[int, float], Args]] = {
    "StepLR": lambda total, x: {"step_size": 2, "gamma": x},
    "MultiStepLR": lambda total, x: {"milestones": [1, total // 2], "gamma": x},
    "ConstantLR": lambda total, x: {"factor": x, "total_iters": total},
    "LinearLR": lambda total, x: {"start_factor": x, "total_iters": total},
    "ExponentialLR": lambda total, x: {"gamma": x},
    "PolynomialLR": lambda total, x: {"total_iters": total, "power": 1 + x},
    "CosineAnnealingLR": lambda total, x: {"T_max": total, "eta_min": x / 1000},
    "CosineAnnealingWarmRestarts": lambda total, x: {"T_0": 2, "T_mult": 2, "eta_min": x / 1000},
    "CyclicLR": lambda total, x: {"base_lr": x / 100, "max_lr": x, "step_size_up": 3},
    "OneCycleLR": lambda total, x: {"max_lr": x, "total_steps": total},
}
"""The arguments by the length of the run and a number that may be changed."""


class Run(SimpleNamespace):
    """What `restore_optimizers` asks of a trainer, with a loop that only advances the schedules."""

    def until(self, step: int, value: float = 1.0) -> list[dict[str, float]]:
        """The rates of the steps up to this one; at the end of an epoch the epoch is over."""
        rates, progress = [], self.progress
        while progress.step < step:
            if progress.phase == "epoch end":
                progress.next_epoch()
            rates.append(learning_rates_of(self.optimizers.values()))
            progress.next_step(rates[-1])
            for optimizer in self.optimizers.values():
                optimizer.step()
            for schedule in self.schedules.values():
                schedule.after_step()
            if progress.epoch_step == STEPS:
                progress.phase = "epoch end"
                for schedule in self.schedules.values():
                    schedule.after_epoch()
                    schedule.after_evaluation(value)
        return rates

    def state(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
                "schedules": {name: schedule.state_dict() for name, schedule in self.schedules.items()},
            }
        )

    def resumed(self, other: Run, touched: set[str] | None = None) -> Run:
        """`other`, a fresh run, brought to where this one stands."""
        other.progress = copy.deepcopy(self.progress)
        restore_optimizers(other, self.state(), touched or set())  # type: ignore[arg-type]
        return other


def link(kind: str, args: Args, every: str, steps: int | None = None) -> Link:
    make = getattr(lr_scheduler, kind)
    return Link(lambda optimizer: make(optimizer, **args), every, steps, "lr_scheduler", kind, repr(args))


def run(links: list[Link], *, epochs: int, lr: float = 0.1, optimizers: int = 1) -> Run:
    """Two groups in each optimizer, the second at a tenth of the rate."""
    made = {}
    for number in range(optimizers):
        groups = [{"params": [torch.zeros(1)], "name": f"{number}a"}]
        groups.append({"params": [torch.zeros(1)], "lr": lr / 10, "name": f"{number}b"})  # type: ignore[dict-item]
        made[f"o{number}"] = torch.optim.SGD(groups, lr, momentum=0.9)
    every = SimpleNamespace(steps=None, epochs=1)
    settings = SimpleNamespace(lr_scheduler=None, place=lambda section, name: f"{section}.{name}")
    return Run(
        optimizers=made,
        schedules={name: Schedule(optimizer, links) for name, optimizer in made.items()},
        progress=TrainState(),
        epochs=epochs,
        steps_per_epoch=STEPS,
        settings=SimpleNamespace(validate_every=every),
        monitor=SimpleNamespace(name="val_loss"),
        parts=SimpleNamespace(settings=settings),
    )


def chain(kind: str, every: str, epochs: int, x: float = 0.5, warm_up: str = "") -> list[Link]:
    before = {"": 0, "step": 2 if every == "step" else 0, "epoch": 1 if every == "epoch" else 0}[warm_up]
    total = (epochs * STEPS if every == "step" else epochs) - before
    steps = {"step": 2, "epoch": 1}.get(warm_up)
    first = [link("LinearLR", {"start_factor": 0.1, "total_iters": 3}, warm_up, steps)]
    return [*(first if warm_up else []), link(kind, SCHEDULERS[kind](total, x), every)]


CHANGES: dict[str, dict[str, Any]] = {
    "epochs": {"epochs": 6},
    "lr": {"lr": 0.03},
    "argument": {"x": 0.25},
    "type": {"kind": "ExponentialLR"},
    "unit": {"every": "other"},
    "no warm-up": {"warm_up": ""},
    "two at once": {"epochs": 5, "lr": 0.2},
    "nothing": {},
}


@pytest.mark.parametrize("warm_up", ["", "step", "epoch"])
@pytest.mark.parametrize("every", ["step", "epoch"])
@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize("change", CHANGES)
def test_rates_go_on_as_in_a_fresh_run_with_the_new_config(change: str, kind: str, every: str, warm_up: str) -> None:
    old: dict[str, Any] = {"kind": kind, "every": every, "epochs": 4, "warm_up": warm_up, "x": 0.5}
    new = {**old, **CHANGES[change]}
    lr = new.pop("lr", 0.1)
    new["every"] = {"step": "epoch", "epoch": "step"}[every] if new["every"] == "other" else every
    for stop in (5, 12):  # inside an epoch, at the end of the run
        before, fresh = (run(chain(**c), epochs=c["epochs"], lr=r, optimizers=2) for c, r in ((old, 0.1), (new, lr)))
        before.until(stop)
        rates = fresh.until(new["epochs"] * STEPS)[stop:]
        resumed = before.resumed(run(chain(**new), epochs=new["epochs"], lr=lr, optimizers=2))
        assert resumed.until(new["epochs"] * STEPS) == rates
        assert resumed.state() == fresh.state()


def test_a_change_since_a_save_that_does_not_say_how_it_was_made() -> None:
    """Saves of older versions."""
    before = run(chain("CosineAnnealingLR", "epoch", 4), epochs=4)
    before.until(6)
    state = before.state()
    for saved in state["schedules"].values():
        del saved["made"]
    before.state = lambda: state  # type: ignore[method-assign]
    fresh = run(chain("CosineAnnealingLR", "epoch", 7), epochs=7)
    rates = fresh.until(21)[6:]
    assert before.resumed(run(chain("CosineAnnealingLR", "epoch", 7), epochs=7), {"epochs"}).until(21) == rates
    assert before.resumed(run(chain("CosineAnnealingLR", "epoch", 7), epochs=7)).until(21) != rates  # nothing changed


def test_with_nothing_changed_a_rate_set_by_hand_stays() -> None:
    before = run(chain("ExponentialLR", "epoch", 4), epochs=4)
    before.until(5)
    before.optimizers["o0"].param_groups[0]["lr"] = 0.7
    assert before.resumed(run(chain("ExponentialLR", "epoch", 4), epochs=4)).until(6) == [
        {"lr/0a": 0.7, "lr/0b": 0.005}
    ]


def test_a_plateau_keeps_its_state_and_what_is_left_of_the_rate() -> None:
    def plateau(patience: int) -> list[Link]:
        return [link("ReduceLROnPlateau", {"patience": patience, "factor": 0.5}, "monitor")]

    before = run(plateau(1), epochs=9)
    before.until(STEPS * 4)  # the best, then one bad, then a second one: halved, then one more
    assert learning_rates_of(before.optimizers.values()) == {"lr/0a": 0.05, "lr/0b": 0.005}
    halved = before.resumed(run(plateau(1), epochs=9, lr=0.2))
    assert halved.until(STEPS * 4 + 1)[-1] == {"lr/0a": pytest.approx(0.1), "lr/0b": pytest.approx(0.01)}
    patient = before.resumed(run(plateau(2), epochs=9))
    assert patient.until(STEPS * 6)[-1] == {"lr/0a": 0.05, "lr/0b": 0.005}
    assert patient.until(STEPS * 6 + 1)[-1] == {"lr/0a": 0.025, "lr/0b": 0.0025}


def test_options_that_no_schedule_sets_are_taken_over_and_the_rest_is_left() -> None:
    before, after = run([], epochs=2), run([], epochs=2)
    before.until(2)
    before.optimizers["o0"].param_groups[0] |= {"lr": 0.7, "nesterov": True}
    after.schedules["o0"].given[0]["weight_decay"] = 0.3
    before.resumed(after)
    group = after.optimizers["o0"].param_groups[0]
    assert (group["lr"], group["nesterov"], group["weight_decay"]) == (0.7, True, 0.3)


def one_cycle(steps: int) -> list[Link]:
    return [link("OneCycleLR", {"max_lr": 0.1, "total_steps": steps}, "step")]


def test_what_cannot_span_the_run_is_refused_with_what_to_write() -> None:
    before = run(one_cycle(12), epochs=4)
    before.until(5)
    with pytest.raises(ConfigError, match=r"total_steps: over before .*write lr_scheduler.args.total_steps='\$\{train"):
        before.resumed(run(one_cycle(12), epochs=5), {"epochs"})
    with pytest.raises(
        ConfigError, match=r"trainer.epochs: the run has begun its epoch 2, .*found 1; expected 2 or more"
    ):
        before.resumed(run(one_cycle(3), epochs=1), {"epochs"})
    waits = [link("ConstantLR", {"factor": 1.0}, "step", 3)]
    before = run([*waits, *one_cycle(9)], epochs=4)
    before.until(5)
    with pytest.raises(ConfigError, match=r"write lr_scheduler.args.total_steps=12"):
        before.resumed(run([*waits, *one_cycle(9)], epochs=5), {"epochs"})
