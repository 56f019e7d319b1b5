"""Trainers with an epoch of their own: their base, how constructors are filled, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.utils.data import TensorDataset

from base import DATASETS, TRAINERS, BaseDataLoader, BaseTrainer, evaluate, fit
from base.checkpoint.store import CheckpointStore
from base.config import Config
from base.errors import ConfigError, DataError
from base.legacy.adapter import TemplateTrainer, with_template_base
from base.registry import has_own_epoch
from tests.small_run import assert_same_run, rows, small_config, write_garments
from trainer import Trainer


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("garments")
    write_garments(folder, train=320, test=64)
    return folder


class Year2018(BaseTrainer):
    """Its base took `resume` and `train_logger`; the epoch returns lists of metrics."""

    def __init__(self, model, loss, metrics, optimizer, resume, config, data_loader, train_logger=None, twice=False):  # type: ignore[no-untyped-def]
        super().__init__(model, loss, metrics, optimizer, resume, config, train_logger)  # type: ignore[call-arg]
        self.data_loader, self.twice = data_loader, twice
        self.moment = torch.zeros(())

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        losses = []
        for _ in range(1 + self.twice):
            for batch_idx, (input, target) in enumerate(self.data_loader):
                loss = self.loss(self.model(input), target)  # type: ignore[attr-defined]
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.moment += loss.detach()
                losses.append(loss.item())
                assert self._progress(batch_idx).startswith(f"[{64 * batch_idx}/256 (")  # type: ignore[attr-defined]
        mean = sum(losses) / len(losses)
        return {"loss": mean, "metrics": [0.5], "val_loss": mean + 1, "val_metrics": [float(self.moment)], "words": "x"}


class Second(Year2018):
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return super()._train_epoch(epoch)


class Both(Trainer):
    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {}


TRAINERS.register(Both)
TRAINERS.register(Year2018)
TRAINERS.register(Second)


@TRAINERS.register
class CallsTrain(Year2018):
    """Puts the model in train mode itself, as the template's trainers do."""

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        self.model.train()
        return super()._train_epoch(epoch)


def test_a_class_with_an_epoch_stays_as_written_and_its_super_leads_to_the_templates_base() -> None:
    assert Year2018.__bases__ == (BaseTrainer,)
    made = with_template_base(Second)
    assert made.__mro__[1:5] == (Second, Year2018, TemplateTrainer, BaseTrainer)
    assert (made.__name__, made.__module__) == ("Second", __name__) and made is with_template_base(Second)
    assert has_own_epoch(Second) and not has_own_epoch(Trainer) and not has_own_epoch(made)


def test_every_property_of_the_loop_is_a_name_that_a_trainer_with_an_epoch_may_assign_to() -> None:
    taken = [name for name, value in vars(BaseTrainer).items() if isinstance(value, property)]
    assert {"model", "criterion", "optimizer"} <= set(taken)
    assert [name for name in taken if vars(TemplateTrainer).get(name, ...) is not None] == []


def test_an_epoch_beside_a_train_step_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Both has both train_step and _train_epoch, expected one of them"):
        fit(small_config(tmp_path, data, trainer__type="Both"))


@pytest.mark.parametrize("kind", ["Year2018", "Second"])
def test_it_trains_and_goes_on_where_an_epoch_ended(kind: str, data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, data, trainer__type=kind, trainer__args={"twice": True})
    whole = fit(config)
    row = rows(whole)[1]
    assert row["accuracy"] == 0.5 and row["val_loss"] == row["loss"] + 1 and "words" not in row
    assert row["step"] == 2 * 4 and whole.best == pytest.approx(min(r["val_loss"] for r in rows(whole)[1:-1]))
    part = fit(config, {"trainer.epochs": 1})
    assert_same_run(whole, fit(resume=part.path, overrides={"trainer.epochs": 3}))
    with pytest.raises(DataError, match=rf"{kind} has no _valid_epoch\(epoch\): nothing says how to test it"):
        evaluate(whole.path)


@DATASETS.register
class PairsLoader(BaseDataLoader):
    """A project's own loader, which has attributes that a trainer of the same project may read."""

    pairs = 64

    def __init__(self, batch_size: int = 16, validation_split: float = 0.25) -> None:
        images = torch.arange(self.pairs * 784.0).reshape(self.pairs, 1, 28, 28) / 1e4
        dataset = TensorDataset(images, torch.arange(self.pairs) % 10)
        super().__init__(dataset, batch_size, True, validation_split, 0)


@TRAINERS.register
class ReadsItsLoader(Year2018):
    def __init__(self, model, loss, metrics, optimizer, resume, config, data_loader, valid_data_loader):  # type: ignore[no-untyped-def]
        super().__init__(model, loss, metrics, optimizer, resume, config, data_loader)
        self.given = data_loader, valid_data_loader

    def _train_epoch(self, epoch: int) -> dict[str, Any]:
        return {"loss": float(sum(len(target) for _, target in self.data_loader))}


def test_it_is_given_the_projects_own_loader(data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, data, trainer__type="ReadsItsLoader", trainer__epochs=1)
    own = {"train": {"type": "PairsLoader"}, "valid": "split", "test": None}
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | {"data": own}))
    run = fit(config)
    train, valid = run.trainer.user_trainer.given  # type: ignore[attr-defined]
    assert type(train) is PairsLoader and train.pairs == 64 and len(valid.sampler) == 16
    assert rows(run)[1]["loss"] == 48


def test_what_belongs_to_the_loop_is_refused(data: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"trainer__clip": {"norm": 1.0}, "trainer__non_finite": "skip", "trainer__ema": {}}
    config = small_config(tmp_path, data, trainer__type="Year2018", **changes)
    with pytest.raises(ConfigError) as error:
        fit(config)
    found = [str(fault).partition("config.yaml:")[2].partition(" ")[2] for fault in error.value.faults]
    assert sorted(found) == [
        "trainer.clip: changes gradients, and Year2018 has its own _train_epoch",
        "trainer.ema: follows each step, and Year2018 has its own _train_epoch",
        "trainer.non_finite: undoes a step when it skips, and Year2018 has its own _train_epoch",
    ]


def test_its_arguments_are_checked_and_those_of_the_program_are_not_set(data: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, data, trainer__type="Year2018", trainer__args={"twise": True, "model": "x"})
    with pytest.raises(ConfigError) as error:
        Config.read(config)
    found = [fault.what + fault.hint for fault in error.value.faults]
    assert found == ["Year2018 has no such argumentdid you mean 'twice'?", "is set by the programremove it"]


def test_a_monitored_name_that_nothing_logs_is_reported(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = fit(small_config(tmp_path, data, trainer__type="Year2018", trainer__monitor="max val_f1", trainer__epochs=1))
    assert run.best is None
    assert "no value named 'val_f1' is logged, so no epoch is the best one; there are loss, accuracy" in caplog.text


def test_what_is_frozen_stays_so_up_to_its_epoch(data: Path, tmp_path: Path) -> None:
    """Weights and BatchNorm's statistics, though the epoch calls `model.train()`."""
    model = {"type": "ConvNet", "args": {"widths": [2, 2], "hidden": 4}, "freeze": ["^features"]}
    model["unfreeze_at"] = {"epoch": 3}
    run = fit(small_config(tmp_path, data, model=model, trainer__type="CallsTrain", trainer__keep=9))
    store = CheckpointStore(run.path / "checkpoints")
    first, frozen, last = (store.load(store.names()[i]).weights() for i in (0, 2, 3))
    names = [name for name in first if name.startswith("features")]
    assert len(names) == 12 and all(torch.equal(first[name], frozen[name]) for name in names)
    assert not torch.equal(first["classifier.0.weight"], frozen["classifier.0.weight"])
    assert not any(torch.equal(frozen[name], last[name]) for name in names)
