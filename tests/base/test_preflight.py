"""Each mistake that passes all other checks, planted: one line at its place, with its mend; right configs are silent"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from base import DATASETS, LOSSES, MODELS, TRAINERS, BaseTrainer, Callback, ConfigError, fit
from base.config import Config
from base.registry import CALLBACKS
from base.run import check
from tests.data_loader.test_cifar import write_cifar10
from tests.small_run import assert_same, assert_same_run, small_config
from trainer import Trainer
from utils.seed import rng_state

ROOT = Path(__file__).resolve().parents[2]


@MODELS.register
class Ending(nn.Sequential):
    """A linear layer and whatever follows it."""

    def __init__(self, last: str = "Identity", outputs: int = 10, scale: float = 1.0) -> None:
        ends = {
            "Softmax": nn.Softmax(dim=1),
            "LogSoftmax": nn.LogSoftmax(dim=1),
            "Sigmoid": nn.Sigmoid(),
            "ReLU": nn.ReLU(),
            "Identity": nn.Identity(),
            "Squeeze": nn.Flatten(0),
        }
        super().__init__(nn.Flatten(), nn.Linear(784, outputs), ends[last])
        with torch.no_grad():
            self[1].weight *= scale
            if last == "ReLU":
                self[1].bias -= 100


@MODELS.register
class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.extra = nn.Linear(784, 10), nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x.flatten(1))  # type: ignore[no-any-return]


@MODELS.register
class PlainList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [nn.Linear(784, 784)]
        self.head = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks[0](x.flatten(1)))  # type: ignore[no-any-return]


@MODELS.register
class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(784, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1)).detach()  # type: ignore[no-any-return]


@LOSSES.register
class WithCentres(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(10, 10))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return nn.functional.cross_entropy(output, target) + (output - self.centres[target]).square().mean()


@LOSSES.register
def each_sample(output: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(output, target, reduction="none")


@LOSSES.register
def own_difference(output: Tensor, target: Tensor) -> Tensor:
    return (output - target.log1p()).square().mean()


@LOSSES.register
def own_huber(output: Tensor, target: Tensor) -> Tensor:
    with warnings.catch_warnings(action="ignore"):  # torch's own of the shapes
        return nn.functional.huber_loss(output, target)


@LOSSES.register
class OwnCrossEntropy(nn.Module):
    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        chance = output.sigmoid().clamp(1e-6, 1 - 1e-6)
        return -(target * chance.log() + (1 - target) * (1 - chance).log()).mean()


@LOSSES.register
def ranked(output: Tensor, target: Tensor) -> Tensor:
    """Pairs on purpose: outputs among each other, targets among each other, and all with all in shapes of its own."""
    score = output.squeeze(1)
    wrong = (output - score) * (target[:, None] - target) < 0
    return (output - score).abs().where(wrong, 0.0).mean() + (score[:, None] - target[None]).square().mean()


@TRAINERS.register
class ComparesAll(Trainer):
    def compute_loss(self, output: Any, target: Any, batch: Any) -> Tensor:
        return (output - target).abs().mean()  # type: ignore[no-any-return]


@MODELS.register
class ClassesLast(nn.Module):
    """(B, 1, 28, 28) -> (B, 28, 10), as many sequence models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(28, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.squeeze(1))  # type: ignore[no-any-return]


@TRAINERS.register
class NoMeanInTraining(Trainer):
    def train_step(self, batch: Any) -> dict[str, Tensor]:
        return {"loss": each_sample(self.model(batch[0]), batch[1])}


@DATASETS.register
class Rows(torch.utils.data.TensorDataset):
    """64 rows of 784 numbers, with targets of any kind."""

    def __init__(self, kind: str = "classes") -> None:
        rows, numbers = torch.rand(64, 1, 28, 28), torch.arange(64)
        kinds = {
            "classes": numbers % 10,
            "from one": numbers % 10 + 1,
            "negative": numbers % 10 - 1,
            "int32": (numbers % 10).int(),
            "float": (numbers % 10).float(),
            "column": (numbers % 10)[:, None],
            "one-hot": nn.functional.one_hot(numbers % 10),
            "bits": numbers % 2,
            "float bits": (numbers % 2).float(),
            "float bit column": (numbers % 2).float()[:, None],
            "column of numbers": numbers.float()[:, None],
            "numbers": numbers.float(),
            "tokens": numbers[:, None].expand(64, 28) % 10,
        }
        super().__init__(rows, kinds[kind])


@TRAINERS.register
class OneParameter(Trainer):
    """Gives its optimizer one parameter alone, as a hand-written one does."""

    def __init__(self, parts: Any) -> None:
        super().__init__(parts)
        build = parts.optimizers
        assert build == {}
        parts.optimizers = OnlyFirst(self)
        self.optimizers = parts.optimizers


class OnlyFirst(dict[str, Any]):
    def __init__(self, trainer: Trainer) -> None:
        super().__init__()
        self.trainer = trainer

    def __setitem__(self, name: str, optimizer: Any) -> None:
        optimizer.param_groups[0]["params"] = optimizer.param_groups[0]["params"][:1]
        super().__setitem__(name, optimizer)


def ending(last: str = "Identity", **args: Any) -> dict[str, Any]:
    return {"type": "Ending", "args": {"last": last, **args}}


def targets(kind: str) -> dict[str, Any]:
    return {
        "data__train": {"type": "Rows", "args": {"kind": kind}},
        "data__test": "off",
        "data__valid": 16,
        "data__loader__batch_size": 32,
        "data__transform": {"train": [], "eval": []},
        "metrics": [],
    }


FLIP, NORMAL = {"type": "RandomHorizontalFlip"}, {"type": "Normalize", "args": {"mean": [0.3], "std": [0.3]}}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "fewer outputs than classes": (
        {"model": ending(outputs=5)},
        "model: the model's output and the targets do not fit; found 5 values a sample, and classes from 0 to 9; "
        'expected 10 values; give the model num_classes: "${data.num_classes}"',
    ),
    "fewer outputs than classes, by an argument": (
        {"model": {"type": "MLP", "args": {"hidden": [4], "num_classes": 9}}},
        "model.args.num_classes: the model's output and the targets do not fit; found 9 values a sample, and classes "
        'from 0 to 9; expected 10 values; give the model num_classes: "${data.num_classes}"',
    ),
    "classes from 1": (
        targets("from one"),
        "data.train: the classes are counted from 1; found 10 values a sample, and classes from 1 to 10; "
        "expected classes from 0 to 9; subtract 1 where the dataset gives its targets",
    ),
    "negative classes": (
        targets("negative"),
        "data.train: CrossEntropyLoss takes classes counted from 0; found targets from -1 to 8; "
        "for targets that do not count set loss.args.ignore_index: -1",
    ),
    "classes as int32": (
        targets("int32"),
        "data.train: CrossEntropyLoss does not take such targets; found int32 of shape (16,); "
        "expected class numbers, int64; give the targets as int64: .long()",
    ),
    "classes as floats": (
        targets("float"),
        "data.train: CrossEntropyLoss does not take such targets; found float32 of shape (16,); "
        "expected class numbers, int64; give the targets as whole numbers: .long()",
    ),
    "classes in a column": (
        targets("column"),
        "data.train: CrossEntropyLoss takes one class number for each sample; found targets of shape (16, 1); "
        "expected (16,); take the extra dimension away: .squeeze(1)",
    ),
    "one-hot whole numbers": (
        targets("one-hot"),
        "data.train: CrossEntropyLoss takes one class number for each sample; found targets of shape (16, 10); "
        "expected (16,); give class numbers, .argmax(1), or shares as floats, .float()",
    ),
    "NLLLoss on logits": (
        {"model": ending(), "loss": "NLLLoss"},
        "loss: NLLLoss takes logarithms of probabilities; found outputs from * to *; expected exp(outputs) of a sample "
        "to sum to 1; use CrossEntropyLoss on logits, or end the model with nn.LogSoftmax(dim=1)",
    ),
    "NLLLoss on probabilities": (
        {"model": ending("Softmax"), "loss": "NLLLoss"},
        "loss: NLLLoss takes logarithms of probabilities; found probabilities; expected exp(outputs) of a sample "
        "to sum to 1; use CrossEntropyLoss on logits, or end the model with nn.LogSoftmax(dim=1)",
    ),
    "BCELoss on logits": (
        {**targets("float bit column"), "model": ending(outputs=1, scale=5), "loss": "BCELoss"},
        "loss: BCELoss takes probabilities; found outputs from * to *; expected from 0 to 1; "
        "use BCEWithLogitsLoss, or end the model with nn.Sigmoid()",
    ),
    "BCE with whole numbers": (
        {**targets("bits"), "model": ending("Squeeze", outputs=1), "loss": "BCEWithLogitsLoss"},
        "data.train: BCEWithLogitsLoss does not take such targets; found int64 of shape (16,); "
        "expected float32, as the outputs are; give the targets as floats: .float()",
    ),
    "BCE with class numbers": (
        {"model": ending(), "loss": "BCEWithLogitsLoss", "metrics": []},
        "data.train: BCEWithLogitsLoss does not take such targets; found int64 of shape (64,); expected float32, as "
        "the outputs are; for one of several classes use CrossEntropyLoss; for each by itself data.target_transform: "
        "OneHot",
    ),
    "BCE of two shapes": (
        {**targets("float bits"), "model": ending(outputs=1), "loss": "BCEWithLogitsLoss"},
        "data.train: BCEWithLogitsLoss compares pairs; found outputs of shape (16, 1), targets of (16,); "
        "expected equal shapes; bring both to one shape: .unsqueeze(1) on the targets, or .squeeze(1) on the outputs",
    ),
    "MSELoss of two shapes": (
        {**targets("column of numbers"), "model": ending("Squeeze", outputs=1), "loss": "MSELoss"},
        "data.train: MSELoss would compare each output with every target; found outputs of shape (16,), "
        "targets of (16, 1); expected equal shapes; bring both to one shape: .unsqueeze(1) on the targets, "
        "or .squeeze(1) on the outputs",
    ),
    "MSELoss with whole numbers": (
        {**targets("bits"), "model": ending("Squeeze", outputs=1), "loss": "MSELoss"},
        "data.train: MSELoss does not take such targets; found int64 of shape (16,); expected float32, as the outputs "
        "are; give the targets as floats: .float()",
    ),
    "classes last": (
        {**targets("tokens"), "model": "ClassesLast"},
        "model: CrossEntropyLoss takes the classes in dimension 1, and here they are last; found outputs of shape "
        "(16, 28, 10) and targets of (16, 28); expected outputs of (16, 10, 28); end the model's forward with "
        ".transpose(1, 2), or give a loss of your own that calls CrossEntropyLoss with output.transpose(1, 2)",
    ),
    "a loss of one's own that broadcasts": (
        {**targets("numbers"), "model": ending(outputs=1), "loss": "own_difference"},
        "loss: the loss compares each output with every target; found outputs of shape (16, 1) and targets of (16,) "
        "make (16, 16); expected equal shapes; bring both to one shape: .squeeze(1) on the outputs, or .unsqueeze(1) "
        "on the targets",
    ),
    "a loss of one's own by a function of torch": (
        {**targets("column of numbers"), "model": ending("Squeeze", outputs=1), "loss": "own_huber"},
        "loss: the loss compares each output with every target; found outputs of shape (16,) and targets of (16, 1) "
        "make (16, 16); expected equal shapes; bring both to one shape: .squeeze(1) on the targets, or .unsqueeze(1) "
        "on the outputs",
    ),
    "a module of one's own that broadcasts": (
        {**targets("bits"), "model": ending(outputs=1), "loss": "OwnCrossEntropy"},
        "loss: the loss compares each output with every target; found outputs of shape (16, 1) and targets of (16,) "
        "make (16, 16); expected equal shapes; bring both to one shape: .squeeze(1) on the outputs, or .unsqueeze(1) "
        "on the targets",
    ),
}
"""What a start refuses, by its dry run alone."""
CHECKED: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to learn": (
        {"model": "Detached"},
        "model: the loss depends on no parameter; look for .detach(), .item() or no_grad() on its way",
    ),
    "every gradient 0": (
        {"model": ending("ReLU")},
        "model: every gradient is 0: nothing would be learned; look for a ReLU after the last layer",
    ),
}
"""What `--check` refuses, by its training batch."""
WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "more outputs than classes": (
        {"model": ending(outputs=100)},
        "model: more outputs than classes; found 100 values a sample, and classes from 0 to 9; expected 10 values; "
        'where that is not meant, num_classes: "${data.num_classes}"',
    ),
    "softmax before CrossEntropyLoss": (
        {"model": ending("Softmax")},
        "loss: CrossEntropyLoss takes logits; found outputs that sum to 1 for each sample; expected any numbers; "
        "take the softmax out of the model: the loss has its own, and twice it hardly learns",
    ),
    "random transform in eval": (
        {"data__transform__eval": [FLIP, "ToFloat"]},
        "data.transform.eval.0: RandomHorizontalFlip changes validation and test samples at random, and their scores "
        "with them; where that is not meant, leave it to data.transform.train",
    ),
    "other Normalize in eval": (
        {"data__transform__train": ["ToFloat", NORMAL]},
        "data.transform.eval: training and evaluation normalise differently: the model is tested on a scale that it "
        "did not learn; give both the same Normalize",
    ),
    "layers in a plain list": (
        {"model": "PlainList"},
        "model: blocks is a plain list: its parameters are not the model's, not trained and not saved; "
        "make it an nn.ModuleList",
    ),
    "parameters in no optimizer": (
        {"trainer__type": "OneParameter"},
        "optimizer: 3 parameters (layers.0.bias, layers.2.weight and layers.2.bias) of model in no optimizer: never "
        "changed; freeze what is meant to stay, or widen optimizer.params",
    ),
    "parameters of the loss": (
        {"loss": "WithCentres"},
        "loss: the loss has 1 parameter (centres) of its own in no optimizer: never changed; "
        "make them part of the model",
    ),
}
"""What a start warns of."""
CHECK_WARNINGS: dict[str, tuple[dict[str, Any], str]] = {
    "unused parameters": (
        {"model": "Unused"},
        "model: 2 parameters (extra.weight and extra.bias) without a gradient: not used on the way to the loss; "
        "use them in forward, take them out, or freeze them",
    ),
    "inputs far too large": (
        {"model": ending(scale=200)},
        "model: the first loss is not that of an untrained model; found *; expected about ln(10) = 2.3, all classes "
        "being equally likely; look at the range of the inputs (Normalize), the first weights, and the targets",
    ),
    "sigmoid before BCEWithLogitsLoss": (
        {**targets("float bit column"), "model": ending("Sigmoid", outputs=1), "loss": "BCEWithLogitsLoss"},
        "loss: BCEWithLogitsLoss takes logits; found the outputs of a sigmoid; expected any numbers; "
        "take the sigmoid out of the model: the loss has its own, and twice it hardly learns",
    ),
}
"""What `--check` warns of."""


LOSS_TEXT = (
    "the loss is not a single number; found a tensor of shape {}; expected one number; "
    "set reduction: mean, or end a loss of your own with .mean()"
)
NONE = {"type": "CrossEntropyLoss", "args": {"reduction": "none"}}
FAULTS |= {
    "reduction: none": ({"loss": NONE}, "loss.args.reduction: " + LOSS_TEXT.format("(64,)")),
    "a loss of one's own for each sample": ({"loss": "each_sample"}, "loss: " + LOSS_TEXT.format("(64,)")),
    "reduction: none of a term": (
        {"loss": {"terms": {"kind": NONE, "smooth": "CrossEntropyLoss"}}},
        "loss.terms.kind.args.reduction: " + LOSS_TEXT.format("(64,)").replace("loss is", "loss 'kind' is"),
    ),
}
CHECKED |= {
    "a loss for each sample in training alone": (
        {"trainer__type": "NoMeanInTraining"},
        "loss: " + LOSS_TEXT.format("(64,)"),
    ),
}


def cases(*tables: dict[str, tuple[dict[str, Any], str]]) -> Any:
    values = [pytest.param(*case, id=name) for table in tables for name, case in table.items()]
    return pytest.mark.parametrize(("changes", "text"), values)


def assert_is(fault: Any, text: str, config: Path) -> None:
    place, _, said = str(fault).partition(": ")
    said = said.replace("loss.type: ", "loss: ", 1)
    assert re.fullmatch(re.escape(text).replace(r"\*", r"\S+"), said), said
    line = int(re.fullmatch(rf"{re.escape(config.as_posix())}:(\d+):\d+", place)[1])  # type: ignore[index]
    key = next(part for part in reversed(fault.key.split(".")) if part not in ("type",) and not part.isdecimal())
    assert any(key in near for near in config.read_text().splitlines()[max(0, line - 3) : line])


@cases(FAULTS)
def test_a_start_refuses_it(changes: dict[str, Any], text: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    with pytest.raises(ConfigError) as error:
        fit(config)
    (fault,) = error.value.faults
    assert_is(fault, text, config)
    assert not (tmp_path / "saved").exists()


@cases(CHECKED)
def test_a_check_refuses_it(changes: dict[str, Any], text: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    with pytest.raises(ConfigError) as error:
        check(config)
    assert_is(*error.value.faults, text, config)


@cases(FAULTS)
def test_a_check_says_what_a_start_says(changes: dict[str, Any], text: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    with pytest.raises(ConfigError) as error:
        check(config)
    assert_is(*error.value.faults, text, config)


@cases(WARNINGS, CHECK_WARNINGS)
def test_a_check_warns_of_it(changes: dict[str, Any], text: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **changes)
    (warning,) = check(config)
    assert_is(warning, text, config)


def test_a_start_says_its_warnings_and_trains(
    garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, text = WARNINGS["softmax before CrossEntropyLoss"]
    run = fit(small_config(tmp_path, garments, **changes), {"trainer.epochs": 1})
    assert run.reason == "finished"
    assert capsys.readouterr().err.count(text.partition(": ")[2]) == 1
    fit(resume=run.path, overrides={"trainer.epochs": 2})
    assert "CrossEntropyLoss" not in capsys.readouterr().err


def test_a_loss_that_takes_soft_targets_or_ignores_some_is_left_alone(garments: Path, tmp_path: Path) -> None:
    one_hot = {"data__target_transform": {"type": "OneHot", "args": {"num_classes": 10}}}
    assert check(small_config(tmp_path, garments, **one_hot)) == []
    ignored = {"loss": {"type": "CrossEntropyLoss", "args": {"ignore_index": -1}}}
    assert check(small_config(tmp_path, garments, **targets("negative"), **ignored)) == []


def test_a_trainers_own_loss_that_broadcasts_is_a_fault_of_the_trainer(garments: Path, tmp_path: Path) -> None:
    changes = {**targets("numbers"), "model": ending(outputs=1), "trainer__type": "ComparesAll"}
    with pytest.raises(ConfigError, match=r"trainer\.type: the loss compares each output with every target; found out"):
        fit(small_config(tmp_path, garments, **changes))


def test_a_loss_that_makes_pairs_on_purpose_is_left_alone(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, **targets("numbers"), model=ending(outputs=1), loss="ranked")
    assert fit(config, {"trainer.epochs": 1}).reason == "finished"


def test_terms_are_looked_at_each_at_its_place(garments: Path, tmp_path: Path) -> None:
    terms = {"right": {"type": "CrossEntropyLoss"}, "wrong": {"type": "NLLLoss", "weight": 0.1}}
    config = small_config(tmp_path, garments, model=ending(), loss={"terms": terms})
    with pytest.raises(ConfigError, match=r"config.yaml:\d+:\d+: loss.terms.wrong.type: NLLLoss takes logarithms"):
        fit(config)


def test_what_is_frozen_is_no_mistake(garments: Path, tmp_path: Path) -> None:
    frozen = {"model": {"type": "MLP", "args": {"hidden": [4]}, "freeze": ["layers.0"]}}
    assert check(small_config(tmp_path, garments, **frozen)) == []


def test_log_softmax_is_what_both_losses_take(garments: Path, tmp_path: Path) -> None:
    for loss in ("NLLLoss", "CrossEntropyLoss"):
        assert check(small_config(tmp_path, garments, model=ending("LogSoftmax"), loss=loss)) == []


@TRAINERS.register
class OldStyle(BaseTrainer):
    def __init__(self, model: Any, criterion: Any, metric_ftns: Any, optimizer: Any, config: Any) -> None:
        super().__init__(model, criterion, metric_ftns, optimizer, config)  # type: ignore[call-arg]

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        return {"loss": 0.0}


def test_an_epoch_of_its_own_is_not_tried(garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = small_config(tmp_path, garments, trainer__type="OldStyle", trainer__verbosity=2, trainer__monitor="off")
    assert check(config) == []
    assert "OldStyle has an epoch of its own: no batch was tried" in capsys.readouterr().out


@CALLBACKS.register
class CheckFirst(Callback):
    """Tries a training batch just before the first step."""

    def on_fit_start(self, trainer: Any) -> None:
        from base.checks.preflight import Preflight

        class Made:
            config, settings, is_new_run, data = None, trainer.parts.settings, True, trainer.data

        torch.rand(1)
        before = rng_state()
        Preflight(Made()).try_training(trainer)  # type: ignore[arg-type]
        assert_same(rng_state(), before)


def test_the_training_batch_leaves_no_trace(garments: Path, tmp_path: Path) -> None:
    """A run that was checked just before its first step is the run that was not, BatchNorm and Dropout included."""
    changes = {"model": {"type": "ConvNet", "args": {"widths": [4], "hidden": 8}}, "trainer__epochs": 1}
    plain = fit(small_config(tmp_path / "plain", garments, **changes))
    checked = fit(small_config(tmp_path / "checked", garments, **changes), {"callbacks": ["CheckFirst"]})
    assert_same_run(plain, checked)


MEANT = {"backbone.yaml": ["model.args.num_classes"]}
"""Warnings of what a shipped config means to do."""


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "configs").glob("*.yaml")))
def test_of_the_shipped_configs_nothing_is_said(name: str, garments: Path, tmp_path: Path) -> None:
    data = Config.read(ROOT / "configs" / name)["data"]
    overrides: dict[str, Any] = {"device": "cpu"}
    for key in ("train", "valid", "test"):
        component = data[key] if isinstance(data[key], Mapping) else {}
        if component.get("type") in ("FashionMNIST", "CIFAR10"):
            overrides[f"data.{key}.args.root"] = str(garments if component["type"] == "FashionMNIST" else tmp_path)
        if component.get("type") == "SyntheticFashion":
            overrides[f"data.{key}.args.size"] = 300
    if data["train"]["type"] == "CIFAR10":
        write_cifar10(tmp_path, train=40)
    if isinstance(data["valid"], int):
        overrides["data.valid"] = 50
    for key in ("model.init_from", "model.teacher.init_from"):  # there is no run to take weights from
        if Config.read(ROOT / "configs" / name).written(key):
            overrides[key] = "off"
    assert [warning.key for warning in check(ROOT / "configs" / name, overrides)] == MEANT.get(name, [])
