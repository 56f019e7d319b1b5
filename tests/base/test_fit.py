"""What a run does, from a config to its folder."""

from __future__ import annotations

import csv
import json
import multiprocessing
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from base import CALLBACKS, MODELS, TRAINERS, Callback, ConfigError, evaluate, fit
from base.checkpoint.store import CheckpointStore
from base.errors import OutOfMemoryError, UserError
from base.loop.nan_guard import NonFiniteGuard
from tests.small_run import assert_same, last_state, rows, small_config
from trainer import Trainer


def test_a_run_leaves_what_is_needed_to_read_test_and_resume_it(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__tensorboard=True))
    assert run.reason == "finished"
    names = {path.name for path in run.path.iterdir()}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "train.log",
        "checkpoints",
        "split.safetensors",
    } <= names
    assert any(name.startswith("events.out.tfevents") for name in names)
    header, *epochs, end = rows(run)
    assert header["format"] == 1 and header["data"] == "real" and end == {"end": "finished"}
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert [row["step"] for row in epochs] == [4, 8, 12]
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "lr"} <= epochs[0].keys()
    assert epochs[2]["val_loss"] < epochs[0]["val_loss"]
    assert run.best == min(row["val_loss"] for row in epochs)


def test_testing_on_the_validation_set_gives_what_training_logged_to_the_last_digit(
    garments: Path, tmp_path: Path
) -> None:
    run = fit(small_config(tmp_path, garments, trainer__monitor="max val_accuracy"))
    scores = evaluate(run.path, "valid", pictures=False)
    best = max(rows(run)[1:-1], key=lambda row: row["val_accuracy"])
    assert scores == {"loss": best["val_loss"], "accuracy": best["val_accuracy"]}


def test_testing_writes_scores_and_predictions(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments))
    before = (run.path / "metrics.jsonl").read_bytes()
    scores = evaluate(run.path, pictures=False)
    folder = run.path / "test" / "test"
    table = list(csv.DictReader((folder / "predictions.csv").read_text().splitlines()))
    assert len(table) == 96
    assert sum(row["target"] == row["prediction"] for row in table) / 96 == scores["accuracy"]
    written = json.loads((folder / "metrics.json").read_text())
    assert (
        written["accuracy"] == scores["accuracy"]
        and written["checkpoint"] == CheckpointStore(run.path / "checkpoints").best()
    )
    assert (run.path / "metrics.jsonl").read_bytes() == before


def test_the_same_config_gives_the_same_run(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    assert_same(last_state(fit(config)), last_state(fit(config)))
    assert_same(rows(fit(config)), rows(fit(config, {"seed": 0})))
    assert rows(fit(config)) != rows(fit(config, {"seed": 1}))


@pytest.mark.parametrize("stopped_after", [2, None])
def test_no_worker_is_left_when_a_run_ends(stopped_after: int | None, garments: Path, tmp_path: Path) -> None:
    """One that is left waits for the garbage collector, which then stands still for 5 s a worker."""
    callbacks = [{"type": "StopAt", "args": {"step": stopped_after}}] if stopped_after else []
    loader = {"in_memory": False, "num_workers": 2, "batch_size": 64}
    before = set(multiprocessing.active_children())
    fit(small_config(tmp_path, garments, data__loader=loader, trainer__epochs=1, callbacks=callbacks))
    assert not set(multiprocessing.active_children()) - before


@pytest.mark.parametrize("batch", [16, 24])
def test_accumulation_equals_one_batch_of_the_windows_samples(batch: int, garments: Path, tmp_path: Path) -> None:
    """With 256 samples and windows of 3 x 24 the last window is short, and so is its last batch."""
    large = fit(small_config(tmp_path / "a", garments, data__loader__batch_size=3 * batch, trainer__epochs=1))
    small = fit(
        small_config(tmp_path / "b", garments, data__loader__batch_size=batch, trainer__epochs=1, trainer__accumulate=3)
    )
    assert small.trainer.progress.step == large.trainer.progress.step == -(-256 // (3 * batch))
    for a, b in zip(small.model.parameters(), large.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


@CALLBACKS.register
class Meddler(Callback):
    """Draws random numbers at every moment there is."""

    def on_fit_start(self, trainer: Any) -> None:
        torch.rand(7)

    def on_step_end(self, trainer: Any, terms: Any) -> None:
        torch.rand(7)

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        torch.rand(7)

    def on_fit_end(self, trainer: Any, reason: str) -> None:
        torch.rand(7)


def test_callbacks_change_no_number(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, model={"type": "ConvNet", "args": {"widths": [4], "hidden": 8}})
    assert_same(last_state(fit(config)), last_state(fit(config, {"callbacks": ["Meddler"]})))


def test_a_misspelt_moment_of_a_callback_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match=r"on_epoch_ends would never be called.*on_epoch_end"):
        type("Late", (Callback,), {"on_epoch_ends": lambda self: None})


def test_early_stopping_waits_its_patience_and_no_longer(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__early_stop=2, trainer__min_delta=9.0, trainer__epochs=9))
    assert run.reason == "early_stop"
    assert len(rows(run)) == 1 + 3 + 1  # the first epoch sets the mark, two more do not better it by 9


def test_best_is_kept_whatever_the_save_period(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__save_period=100, trainer__keep=1))
    best = CheckpointStore(run.path / "checkpoints").load("best")
    assert best.info["metrics"] == {"val_loss": run.best}


def test_the_test_sets_are_looked_at_when_training_is_over(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__test_at_end=True))
    *_, last, end = rows(run)
    assert last["phase"] == "test" and end == {"end": "finished"}
    assert last["test_accuracy"] == evaluate(run.path, pictures=False)["accuracy"]


def test_time_runs_out(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, trainer__max_time=1e-9)
    run = fit(config)
    assert run.reason == "max_time" and run.trainer.progress.step == 0
    assert fit(resume=run.path, overrides={"trainer.max_time": None}).reason == "finished"


def test_without_validation_the_last_weights_are_tested(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, data__valid=None, trainer__monitor="off"))
    assert run.best is None
    assert evaluate(run.path, pictures=False)["accuracy"] > 0.5


@TRAINERS.register
class Penalised(Trainer):
    """One method of three lines instead of a copied loop."""

    def compute_loss(self, output: Any, target: Any, batch: Any) -> dict[str, Any]:
        return {"fit": self.criterion(output, target), "penalty": 0.01 * output.square().mean()}


@TRAINERS.register
class PlainNumbers(Trainer):
    """Its terms are a tensor of one element and a Python number."""

    def compute_loss(self, output: Any, target: Any, batch: Any) -> dict[str, Any]:
        return {"fit": self.criterion(output, target)[None], "penalty": 0.25}


def test_terms_may_be_plain_numbers_or_tensors_of_one_element(garments: Path, tmp_path: Path) -> None:
    usual = fit(small_config(tmp_path / "usual", garments, trainer__epochs=1))
    other = fit(small_config(tmp_path / "other", garments, trainer__epochs=1, trainer__type="PlainNumbers"))
    assert_same(last_state(other)["weights"], last_state(usual)["weights"])
    one, two = rows(usual)[1], rows(other)[1]
    assert (two["fit"], two["penalty"]) == (one["loss"], 0.25)
    assert two["val_loss"] == pytest.approx(one["val_loss"] + 0.25)


def test_a_training_loss_of_several_numbers_is_told_in_one_line(garments: Path, tmp_path: Path) -> None:
    """The look before the start evaluates, and does not see it."""
    with pytest.raises(UserError, match=r"^the loss is not a single number; found a tensor of shape \(64,\); exp"):
        fit(small_config(tmp_path, garments, trainer__type="ASampleEach"))


@TRAINERS.register
class ASampleEach(Trainer):
    def train_step(self, batch: Any) -> dict[str, Any]:
        return {"loss": nn.functional.cross_entropy(self.model(batch[0]), batch[1], reduction="none")}


def test_named_losses_are_summed_and_logged(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__type="Penalised", trainer__monitor="min val_fit"))
    row = rows(run)[1]
    assert row["loss"] == pytest.approx(row["fit"] + row["penalty"])
    assert row["val_loss"] == pytest.approx(row["val_fit"] + row["val_penalty"])
    assert run.best == min(r["val_fit"] for r in rows(run)[1:-1])


@MODELS.register
class Exploding(nn.Module):
    """Its output becomes NaN in the sixth training step. The class counts: a step that is skipped is put back in the
    model, counters included."""

    steps: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(784, 10), nn.BatchNorm1d(10)
        Exploding.steps = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        Exploding.steps += self.training
        return self.norm(self.layer(x.flatten(1)) * (float("nan") if self.training and self.steps == 6 else 1.0))


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, model="Exploding")
    with pytest.raises(ValueError, match=r"the loss is nan in epoch 2, step 6 \(lr 0.1\); the last good"):
        fit(config)
    (path,) = (tmp_path / "saved" / "small").iterdir()
    assert json.loads((path / "metrics.jsonl").read_text().splitlines()[-1]) == {"end": "not_finite"}
    newest = CheckpointStore(path / "checkpoints").load()
    assert newest.info["epoch"] == 1 and all(w.isfinite().all() for w in newest.weights().values())


@CALLBACKS.register
class AsOnAnAccelerator(Callback):
    """The verdict stays on the device; counts how often the host looks."""

    def on_fit_start(self, trainer: Any) -> None:
        trainer.guard.deferred = True


@pytest.mark.parametrize("optimizer", [{"type": "AdamW"}, {"type": "SGD", "args": {"lr": 0.1}, "fused": True}])
def test_on_an_accelerator_the_update_is_left_out_until_the_host_looks(
    optimizer: dict[str, Any], garments: Path, tmp_path: Path
) -> None:
    fits = {"optimizer": optimizer, "callbacks": ["AsOnAnAccelerator"], "model": "Exploding"}
    config = small_config(tmp_path, garments, trainer__log_every=100, trainer__save_every={"steps": 5}, **fits)
    with pytest.raises(ValueError, match="seen late, the weights are untouched"):
        fit(config)
    (path,) = (tmp_path / "saved" / "small").iterdir()
    newest = CheckpointStore(path / "checkpoints").load()
    assert newest.info["step"] == 5  # the bad number came in step 6; step 8 ends the epoch


@pytest.mark.parametrize("clip", [{}, {"norm": 1.0}])
def test_on_an_accelerator_the_host_looks_at_the_verdict_when_it_logs_or_saves(
    clip: dict[str, Any], garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, real = [], NonFiniteGuard.raise_if_bad

    def look(guard: NonFiniteGuard) -> None:
        looks.append(guard.verdict is not None)
        real(guard)

    monkeypatch.setattr(NonFiniteGuard, "raise_if_bad", look)
    run = fit(small_config(
        tmp_path, garments, callbacks=["AsOnAnAccelerator"], optimizer={"type": "AdamW"}, trainer__clip=clip,
        trainer__epochs=1, trainer__log_every=100, data__loader__batch_size=8,
    ))  # fmt: skip
    assert run.trainer.progress.step == 32 and sum(looks) <= 3


def test_an_optimizer_that_is_not_fused_is_looked_at_before_its_step(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, callbacks=["AsOnAnAccelerator"], model="Exploding")
    with pytest.raises(ValueError, match=r"seen late.*epoch 2, step 6"):
        fit(config)


def test_a_step_that_is_not_finite_may_be_skipped(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, model="Exploding", trainer__non_finite="skip"))
    assert run.reason == "finished" and run.trainer.guard.skipped == 1
    assert all(b.isfinite().all() for b in run.model.buffers())
    assert all(row["loss"] is not None for row in rows(run)[1:-1])


def test_a_monitor_that_nothing_logs_is_found_before_training(garments: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="val_los"):
        fit(small_config(tmp_path, garments, trainer__monitor="min val_los"))
    assert not (tmp_path / "saved").exists()


def test_a_model_that_does_not_fit_the_data_is_found_before_training(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, model={"type": "MLP", "args": {"num_classes": 3}})
    with pytest.raises(ConfigError, match=r"config.yaml:\d+:\d+: model.args.num_classes: .* do not fit"):
        fit(config)
    assert not (tmp_path / "saved").exists()


@MODELS.register
class Greedy(nn.Module):
    """Asks for more memory than there is, in the sixth training step."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.steps = nn.Linear(784, 10), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        if self.steps == 6:
            torch.empty(1 << 50)
        return self.layer(x.flatten(1))


def test_out_of_memory_names_what_to_lower_and_what_is_saved(garments: Path, tmp_path: Path) -> None:
    with pytest.raises(OutOfMemoryError, match=r"epoch 2, step 6 .*lower data.loader.batch_size \(64\).*checkpoints/0"):
        fit(small_config(tmp_path, garments, model="Greedy"))
    assert OutOfMemoryError.exit_code == 7


def test_a_disk_that_refuses_is_one_line(garments: Path, tmp_path: Path) -> None:
    (tmp_path / "saved").write_text("a file where the folder of runs should be")
    with pytest.raises(ConfigError, match=r"trainer.save_dir: .*saved is a file, not a folder"):
        fit(small_config(tmp_path, garments))
