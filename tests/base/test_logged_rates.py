"""The learning rate beside a step or an epoch is that which the step, or the epoch's last step, was taken with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from base import CALLBACKS, Callback, fit
from base.errors import NotFiniteError
from tests.small_run import rows, small_config, stopped_and_resumed

LINEAR = {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 9}, "every": "step"}
TAKEN: list[float] = []
LOGGED: dict[int, float] = {}


@CALLBACKS.register
class Listens(Callback):
    """The rates that the optimizer stepped with, and those that were logged."""

    def on_fit_start(self, trainer: Any) -> None:
        TAKEN.clear(), LOGGED.clear()
        trainer.optimizer.register_step_pre_hook(lambda o, *_: TAKEN.append(o.param_groups[0]["lr"]))
        trainer.log.scalars = lambda step, values: LOGGED.update({step: values["lr"]})

    def on_step_end(self, trainer: Any, terms: Any) -> None:
        assert trainer.rates() == {"lr": TAKEN[-1]}


@CALLBACKS.register
class Spoils(Callback):
    """After step 2 the weights are not finite."""

    def on_step_end(self, trainer: Any, terms: Any) -> None:
        if trainer.progress.step == 2:
            next(trainer.model.parameters()).data.fill_(float("nan"))


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_rates_stand_beside_the_steps_they_were_taken_with(every: str, garments: Path, tmp_path: Path) -> None:
    schedule = {**LINEAR, "every": every} if every == "step" else {"type": "ExponentialLR", "args": {"gamma": 0.5}}
    config = small_config(tmp_path, garments, lr_scheduler=schedule, trainer__log_every=1, callbacks=["Listens"])
    run = fit(config, {"trainer.validate_every": {"steps": 2}} if every == "step" else {})
    assert list(LOGGED.items()) == list(enumerate(TAKEN, start=1)) and len(TAKEN) == 12
    epochs = [row for row in rows(run)[1:-1] if row["phase"] == "epoch"]
    assert [row["lr"] for row in epochs] == [TAKEN[3], TAKEN[7], TAKEN[11]]


def test_an_epoch_that_a_resume_ends_has_the_rate_of_its_last_step(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, lr_scheduler=LINEAR)
    assert rows(fit(config)) == rows(stopped_and_resumed(config, 4))


def test_an_error_names_the_step_and_its_rate(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, lr_scheduler=LINEAR, trainer__save_every={"steps": 2})
    with pytest.raises(NotFiniteError, match=r"not finite after epoch 1, step 2 \(lr 0.02\): not saved"):
        fit(config, {"callbacks": ["Spoils"]})
    with pytest.raises(NotFiniteError, match=r"in epoch 1, step 3 \(lr 0.03\)"):
        fit(config, {"callbacks": ["Spoils"], "trainer.save_every": {"steps": 4}})
