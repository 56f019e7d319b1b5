"""What is learned and logged of weighted, padded, soft, summed, several and occasional losses does not depend on how
the data is cut into batches."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils.data import Dataset

from base import DATASETS, LOSSES, MODELS, TRAINERS, fit
from base.errors import NotFiniteError, UserError
from base.loop.counts import Ratio
from base.run import Run
from tests.small_run import rows
from trainer import Trainer
from utils.batches import size_of


@DATASETS.register
class Counted(Dataset[tuple[Tensor, Any]]):
    """16 points (5,) in an order of their own. Of the classes every other is ignored, and the first four all are."""

    def __init__(self, kind: str = "classes", train: bool = True) -> None:
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(16, 5, generator=generator)
        classes = torch.randint(0, 3, (16,), generator=generator)
        ignored = classes.clone()
        ignored[::2] = -100
        ignored[:4] = -100
        values = torch.randn(16, 3, generator=generator)
        values[ignored < 0] = -9.0
        self.targets = {
            "classes": classes,
            "ignored": ignored,
            "one class first": torch.where(torch.arange(16) < 4, 1, classes),
            "soft": values.softmax(1),
            "values": values,
            "pixels": torch.stack([ignored, classes], 1),
        }[kind]

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return self.inputs[index], self.targets[index]


@MODELS.register
class CountedNet(nn.Module):
    def __init__(self, pixels: bool = False) -> None:
        super().__init__()
        self.layer, self.pixels = nn.Linear(5, 6 if pixels else 3), pixels

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x)
        return output.unflatten(1, (3, 2)) if self.pixels else output


@LOSSES.register
class MaskedError(nn.Module):
    """The mean over the rows that are no padding."""

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        real = target[:, 0] > -9
        return ((output - target).square().mean(1) * real).sum() / real.sum()

    def count(self, target: Tensor) -> Tensor:
        return (target[:, 0] > -9).sum()


@LOSSES.register
class ForgetsItsCount(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        real = target[:, 0] > -9
        return ((output - target).square().mean(1) * real).sum() / real.sum()


@LOSSES.register
class GivesARatio(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Ratio:
        real = target[:, 0] > -9
        return Ratio(((output - target).square().mean(1) * real).sum(), real.sum())


@TRAINERS.register
class SometimesMasked(Trainer):
    """A penalty on the rows that are padding, where there are any."""

    def compute_loss(self, output: Tensor, target: Tensor, batch: Any) -> dict[str, Tensor]:
        padding = target[:, 0] == -9
        terms = {"fit": self.criterion(output, target)}
        return terms | ({"padding": output[padding].square().mean()} if padding.any() else {})

    def count(self, batch: Any) -> dict[str, Any]:
        return {"fit": super().count(batch), "padding": (batch[1][:, 0] == -9).sum()}


@TRAINERS.register
class EveryFourth(Trainer):
    """A penalty of 8 in every fourth batch."""

    batches: ClassVar[int]

    def compute_loss(self, output: Tensor, target: Tensor, batch: Any) -> dict[str, Tensor]:
        type(self).batches = getattr(type(self), "batches", 0) + 1
        terms = {"fit": self.criterion(output, target)}
        return terms | ({"penalty": torch.tensor(8.0)} if self.batches % 4 == 0 else {})


WEIGHTED = {"type": "CrossEntropyLoss", "args": {"weight": [0.2, 1.0, 3.0]}}
MASKED = {"type": "MaskedError"}
ZERO_WEIGHT = {"type": "CrossEntropyLoss", "args": {"weight": [1.0, 0.0, 2.0]}}
SEVERAL = {"terms": {
    "sum": {"type": "MSELoss", "args": {"reduction": "sum"}, "weight": 0.01},
    "masked": {"type": "MaskedError", "weight": 0.5}, "plain": {"type": "L1Loss"},
}}  # fmt: skip
CASES: dict[str, dict[str, Any]] = {
    "weighted": {"loss": WEIGHTED},
    "weighted, ignored, smoothed": {
        "kind": "ignored",
        "loss": {"type": "CrossEntropyLoss", "args": {"weight": [0.2, 1.0, 3.0], "label_smoothing": 0.1}},
    },
    "ignored": {"kind": "ignored", "loss": "CrossEntropyLoss"},
    "pixels": {"kind": "pixels", "loss": WEIGHTED, "model": {"type": "CountedNet", "args": {"pixels": True}}},
    "soft": {"kind": "soft", "loss": WEIGHTED},
    "a weight of zero": {"kind": "one class first", "loss": ZERO_WEIGHT},
    "an own count": {"kind": "values", "loss": MASKED},
    "a sum": {"kind": "values", "loss": {"type": "MSELoss", "args": {"reduction": "sum"}}},
    "several": {"kind": "values", "loss": SEVERAL},
    "sometimes": {"kind": "values", "loss": MASKED, "trainer": "SometimesMasked"},
    "a ratio": {"kind": "values", "loss": "GivesARatio"},
}


def trained(
    folder: Path,
    kind: str = "classes",
    loss: Any = "CrossEntropyLoss",
    batch: int = 16,
    accumulate: int = 1,
    **more: Any,
) -> Run:
    """An epoch over 16 samples."""
    trainer = more.pop("trainer", "Trainer")
    data = {"type": "Counted", "args": {"kind": kind}}
    config: dict[str, Any] = {
        "name": "means", "device": "cpu", "model": "CountedNet", "loss": loss,
        "data": {"train": data, "valid": data, "loader": {"batch_size": batch, "shuffle": False}},
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "trainer": {
            "type": trainer, "epochs": 1, "accumulate": accumulate, "precision": "fp64", "save_dir": str(folder),
            "verbosity": 0, "tensorboard": False,
        },
    }  # fmt: skip
    for key, value in more.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name] = value
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return fit(folder / "config.yaml")


def weights(run: Run) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in run.model.parameters()])


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_is_that_of_one_large_batch_and_losses_are_those_of_the_epoch(name: str, tmp_path: Path) -> None:
    whole = trained(tmp_path / "16", **CASES[name])
    for batch, accumulate in ((4, 4), (1, 16), (5, 4)):
        cut = trained(tmp_path / f"{batch}x{accumulate}", batch=batch, accumulate=accumulate, **CASES[name])
        assert (weights(cut) - weights(whole)).abs().max() < 1e-12
        one, other = rows(whole)[1], rows(cut)[1]
        assert one.keys() == other.keys()
        for key in one.keys() - {"phase"}:
            assert other[key] == pytest.approx(one[key], rel=1e-12), key


def test_the_weighted_mean_is_torchs_own(tmp_path: Path) -> None:
    run = trained(tmp_path, batch=3, loss=WEIGHTED)
    data = Counted()
    loss = nn.CrossEntropyLoss(torch.tensor([0.2, 1.0, 3.0]).double())
    with torch.no_grad():
        assert rows(run)[1]["val_loss"] == pytest.approx(loss(run.model(data.inputs), data.targets).item(), rel=1e-12)


def test_a_term_of_some_batches_has_the_mean_over_those(tmp_path: Path) -> None:
    row = rows(trained(tmp_path, batch=2, trainer="EveryFourth", data__valid="off", trainer__monitor="off"))[1]
    assert row["penalty"] == 8.0
    assert row["loss"] == pytest.approx(row["fit"] + row["penalty"])


def test_a_sum_is_logged_per_sample(tmp_path: Path) -> None:
    total = {"type": "MSELoss", "args": {"reduction": "sum"}}
    run = trained(tmp_path, "values", total, batch=5)
    data = Counted("values")
    with torch.no_grad():
        expected = nn.functional.mse_loss(run.model(data.inputs), data.targets.double(), reduction="sum").item() / 16
    assert rows(run)[1]["val_loss"] == pytest.approx(expected, rel=1e-12)


def test_a_step_in_which_nothing_counts_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        NotFiniteError, match=r"nothing counts in the 4 samples of a step: the count is 0 \(all targets "
    ):
        trained(tmp_path / "stop", "ignored", batch=4)
    run = trained(tmp_path / "skip", "ignored", batch=4, trainer__non_finite="skip")
    assert run.trainer.guard.skipped == 1 and weights(run).isfinite().all()


@pytest.mark.parametrize(
    ("loss", "warned"),
    [("ForgetsItsCount", True), (MASKED, False), ({"type": "L1Loss"}, False), (SEVERAL, False), ("GivesARatio", False)],
)
def test_a_mean_that_depends_on_the_batch_size_is_warned_of_once(
    loss: Any, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, "values", loss)
    told = [record.getMessage() for record in caplog.records if "mean of its parts" in record.getMessage()]
    assert len(told) == warned
    assert not warned or ("the loss 'loss' of the first batch" in told[0] and "count(target)" in told[0])


def test_ratios_beside_other_losses_are_refused_with_accumulation(tmp_path: Path) -> None:
    several = {"terms": {"ratio": {"type": "GivesARatio"}, "plain": {"type": "L1Loss"}}}
    alone = trained(tmp_path / "one", "values", several)
    assert rows(alone)[1]["loss"] == pytest.approx(rows(alone)[1]["ratio"] + rows(alone)[1]["plain"])
    with pytest.raises(UserError, match="found the terms plain or ratio: give their losses count"):
        trained(tmp_path / "two", "values", several, batch=8, accumulate=2)


@LOSSES.register
class CountsWrongly(MaskedError):
    def count(self, target: Tensor) -> Any:
        return target[:, 0]


def test_a_count_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found a tensor of shape \(16,\), expected a number from 0 on"):
        trained(tmp_path, "values", "CountsWrongly")


def test_a_subclass_with_a_loss_of_its_own_counts_samples() -> None:
    class Own(Trainer):
        def compute_loss(self, output: Any, target: Any, batch: Any) -> Any:
            return self.criterion(output, target)

    own = object.__new__(Own)
    own.criteria = {"loss": nn.CrossEntropyLoss()}
    batch = torch.zeros(3, 2), torch.tensor([0, -100, 1])
    assert own.count(batch) == size_of(batch) == 3


def test_an_epoch_goes_on_with_the_counts_it_had(tmp_path: Path) -> None:
    stop = [{"type": "StopAt", "args": {"step": 2}}]
    whole = trained(tmp_path / "whole", "ignored", WEIGHTED, batch=6)
    stopped = trained(tmp_path / "parts", "ignored", WEIGHTED, batch=6, callbacks=stop)
    resumed = fit(resume=stopped.path, overrides={"callbacks": []})
    assert rows(resumed) == rows(whole)
    assert math.isfinite(rows(whole)[1]["loss"])
