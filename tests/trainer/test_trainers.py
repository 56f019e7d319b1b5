"""The trainers beside the usual one, on their shipped configs cut short: they learn, and resume to the last bit."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from base import evaluate, fit
from base.checkpoint.store import CheckpointStore
from base.run import Run
from data_loader.sequences import SyntheticLinear, SyntheticReviews, SyntheticSeries, Texts
from model.metrics import R2
from model.text import TextClassifier
from tests.small_run import assert_same_run, rows

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def shortened(name: str, folder: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """A shipped config on 256 images, two epochs of three steps."""
    short = {
        "data.train.args.size": 256,
        "data.valid": 64,
        "data.test": "off",
        "trainer.epochs": 2,
        "trainer.save_dir": str(folder),
        "trainer.verbosity": 0,
        "trainer.tensorboard": False,
        "callbacks": [],
    }
    return CONFIGS / f"{name}.yaml", {**short, **{key.replace("__", "."): value for key, value in changes.items()}}


def whole_and_resumed(name: str, folder: Path, step: int = 4, **changes: Any) -> tuple[Run, Run]:
    config, short = shortened(name, folder / "whole", **changes)
    whole = fit(config, short)
    config, short = shortened(name, folder / "parts", **changes)
    stopped = fit(config, {**short, "callbacks": [{"type": "StopAt", "args": {"step": step}}]})
    return whole, fit(resume=stopped.path, overrides={"callbacks": []})


SMALL_GAN = {"model__generator__args__width": 4, "model__discriminator__args__width": 4}


def test_a_gan_learns_with_both_optimizers_and_resumes_bit_exactly(tmp_path: Path) -> None:
    whole, resumed = whole_and_resumed("gan", tmp_path, **SMALL_GAN, trainer__ema={"decay": 0.9})
    assert_same_run(whole, resumed)
    row = rows(whole)[1]
    assert {"loss", "discriminator", "energy_distance", "val_energy_distance", "lr/generator"} <= row.keys()
    store = CheckpointStore(whole.path / "checkpoints")
    first, last = store.load(store.names()[0]).weights(), store.load(store.names()[-1]).weights()
    for name in ("generator.layers.0.weight", "discriminator.layers.0.weight"):
        assert not torch.equal(first[name], last[name])
    optimizers = whole.trainer.optimizers
    steps = {name: {int(s["step"]) for s in one.state.values()} for name, one in optimizers.items()}
    assert steps == {"generator": {6}, "discriminator": {6}}
    assert whole.best == min(row["val_energy_distance"] for row in rows(whole)[1:-1])
    assert evaluate(whole.path, "valid")["energy_distance"] == pytest.approx(whole.best)


def test_the_discriminators_gradients_are_clipped_and_checked_too(tmp_path: Path) -> None:
    config, short = shortened("gan", tmp_path, **SMALL_GAN)
    clipped = fit(
        config,
        {
            **short,
            "trainer.epochs": 1,
            "trainer.clip.norm": 1e-9,
            "optimizer.discriminator": {"type": "SGD", "args": {"lr": 1.0}},
        },
    )
    store = CheckpointStore(clipped.path / "checkpoints")
    first, last = store.load(store.names()[0]).weights(), store.load(store.names()[-1]).weights()
    name = "discriminator.layers.0.weight"
    assert torch.allclose(first[name], last[name], atol=1e-7)
    assert not torch.allclose(first["generator.layers.0.weight"], last["generator.layers.0.weight"], atol=1e-7)


def test_what_is_frozen_of_a_discriminator_stays_frozen(tmp_path: Path) -> None:
    config, short = shortened("gan", tmp_path, **SMALL_GAN, trainer__epochs=1)
    run = fit(config, {**short, "model.discriminator.freeze": [r"^layers\.0"]})
    store = CheckpointStore(run.path / "checkpoints")
    first, last = store.load(store.names()[0]).weights(), store.load(store.names()[-1]).weights()
    moved = {name for name in first if name.startswith("discriminator") and not torch.equal(first[name], last[name])}
    assert moved == {name for name in first if name.startswith("discriminator") and ".layers.0." not in name}
    assert not torch.equal(first["generator.layers.0.weight"], last["generator.layers.0.weight"])


def test_sample_images_go_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config, short = shortened("gan", tmp_path, **SMALL_GAN)
    callbacks = [{"type": "SampleImages", "args": {"rows": 2, "columns": 3}}]
    run = fit(config, {**short, "trainer.epochs": 1, "trainer.tensorboard": True, "callbacks": callbacks})
    events = EventAccumulator(str(run.path), size_guidance={"images": 0}).Reload()  # type: ignore[no-untyped-call]
    image = events.Images("samples")[0]  # type: ignore[no-untyped-call]
    assert (image.step, image.height, image.width) == (3, 2 * 28, 3 * 28)


def test_a_student_learns_from_the_teacher_whose_run_may_then_be_gone(tmp_path: Path) -> None:
    model = {"model__args": {"widths": [2, 2], "hidden": 4, "num_classes": 10}}
    teacher = fit(*shortened("teacher", tmp_path / "saved", **model))
    source = str(teacher.path.parent).removesuffix("-synthetic")  # the folder of the runs of its name
    changes = {
        "model__teacher__args": {"widths": [2, 2], "hidden": 4, "num_classes": 10},
        "model__teacher__init_from": source,
    }
    config, short = shortened("distillation", tmp_path / "parts", **changes)
    stopped = fit(config, {**short, "callbacks": [{"type": "StopAt", "args": {"step": 4}}]})
    whole = fit(*shortened("distillation", tmp_path / "whole", **changes))
    teacher.path.rename(tmp_path / "gone")
    resumed = fit(resume=stopped.path, overrides={"callbacks": []})
    assert_same_run(whole, resumed)
    row = rows(whole)[1]
    assert row["loss"] == pytest.approx(row["teacher"] + row["labels"])
    kept = CheckpointStore(tmp_path / "gone" / "checkpoints").load("best").weights()
    taught = CheckpointStore(whole.path / "checkpoints").load("last").weights()
    assert all(torch.equal(taught[f"teacher.{name}"], tensor) for name, tensor in kept.items())


def test_transfer_learning_takes_all_but_the_head_and_unfreezes(tmp_path: Path) -> None:
    backbone = fit(
        *shortened("backbone", tmp_path / "saved", trainer__epochs=1, data__train__args__size=96, data__valid=32)
    )
    changes = {
        "model__init_from": str(backbone.path.parent),
        "model__unfreeze_at__epoch": 2,
        "data__train__args__size": 96,
        "data__valid": 32,
        "trainer__keep": 9,
    }  # fmt: skip
    run = fit(*shortened("transfer_learning", tmp_path / "whole", **changes))
    store = CheckpointStore(run.path / "checkpoints")
    first, frozen, last = (store.load(store.names()[i]).weights() for i in (0, 1, 2))
    kept = CheckpointStore(backbone.path / "checkpoints").load("best").weights()
    assert (kept["fc.weight"].shape, first["fc.weight"].shape) == ((16, 512), (10, 512))
    body = [name for name in kept if not name.startswith("fc.")]
    assert all(torch.equal(first[name], kept[name]) for name in body)
    assert all(torch.equal(first[name], frozen[name]) for name in body)  # BatchNorm's statistics among them
    assert not torch.equal(frozen["conv1.weight"], last["conv1.weight"])
    assert rows(run)[1]["lr/body"] == pytest.approx(rows(run)[1]["lr/head"] / 10)


# --- other data than images -------------------------------------------------------------------------------------------


def test_linear_regression_finds_the_least_squares_answer(tmp_path: Path) -> None:
    short = {"trainer.save_dir": str(tmp_path), "trainer.verbosity": 0, "trainer.tensorboard": False}
    run = fit(CONFIGS / "tabular_regression.yaml", short)
    weights = CheckpointStore(run.path / "checkpoints").load("best").weights()
    data = SyntheticLinear()
    chosen = run.trainer.data.split["train"]
    points, values = (tensor[chosen].double() for tensor in data.as_tensors())
    answer = torch.linalg.lstsq(torch.cat([points, torch.ones(len(points), 1)], 1), values).solution.flatten()
    found = torch.cat([weights["layers.0.weight"].flatten(), weights["layers.0.bias"]]).double()
    assert (found - answer).abs().max() < 1e-3
    assert torch.allclose(answer[:-1], torch.from_numpy(data.weights), atol=0.02)
    scores = evaluate(run.path)
    assert scores["R2"] > 0.99 and scores["loss"] == pytest.approx(scores["mean_squared_error"])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("tabular_regression", {"data.train.args.size": 200, "data.valid": 50}),
        ("time_series", {f"data.{part}.args.steps": 900 for part in ("train", "valid", "test")}),
        ("text_classification", {"data.train.args.size": 200, "data.valid": 50, "data.loader.num_workers": 2}),
    ],
)
def test_other_data_resumes_bit_exactly(name: str, changes: dict[str, Any], tmp_path: Path) -> None:
    short = {"trainer.epochs": 2, "trainer.verbosity": 0, "trainer.tensorboard": False, **changes}
    whole = fit(CONFIGS / f"{name}.yaml", {**short, "trainer.save_dir": str(tmp_path / "whole")})
    stop = {"trainer.save_dir": str(tmp_path / "parts"), "callbacks": [{"type": "StopAt", "args": {"step": 4}}]}
    stopped = fit(CONFIGS / f"{name}.yaml", {**short, **stop})
    assert_same_run(whole, fit(resume=stopped.path, overrides={"callbacks": []}))


def test_r2_is_that_of_the_whole_epoch() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(50, 2, generator=generator)
    output = target + 0.5 * torch.randn(50, 2, generator=generator)
    metric = R2()
    for part in (slice(0, 7), slice(7, 50)):
        metric.update(output[part], target[part])
    expected = 1 - (output - target).square().sum() / (target - target.mean()).square().sum()
    assert metric.compute() == pytest.approx(expected.item())
    again = R2()
    again.load_state_dict(metric.state_dict())
    assert again.compute() == metric.compute()
    metric.reset()
    assert math.isnan(metric.compute())


def test_windows_of_the_parts_follow_each_other() -> None:
    parts = [SyntheticSeries(steps=300, window=8, horizon=2, part=part) for part in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [201, 36, 36]
    inputs, targets = parts[0].as_tensors()
    assert torch.equal(inputs[2], torch.cat([inputs[0][2:], targets[0]]))


def test_the_vocabulary_is_learned_once_and_a_resume_and_a_test_use_the_saved_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {
        "trainer.epochs": 1,
        "trainer.save_dir": str(tmp_path),
        "trainer.verbosity": 0,
        "trainer.tensorboard": False,
        "data.train.args.size": 200,
        "data.valid": 50,
        "data.test.args.size": 20,
    }
    run = fit(CONFIGS / "text_classification.yaml", short)
    learned = run.trainer.data.decisions["learned"]
    assert learned[:2] == ["was", "the"] and "frankly" not in learned
    assert run.model.embedding.num_embeddings == len(learned) + 2
    monkeypatch.setattr(Texts, "learn", lambda self, indices: pytest.fail("learned again"))
    resumed = fit(resume=run.path, overrides={"trainer.epochs": 2})
    assert resumed.trainer.data.decisions["learned"] == learned
    assert evaluate(run.path)["accuracy"] >= 0


def test_texts_become_padded_numbers() -> None:
    data = SyntheticReviews(size=2)
    data.use(["the", "film"])
    batch = data.collate([{"text": "The film!", "label": 1}, {"text": "The other, the film", "label": 0}])
    assert batch["tokens"].tolist() == [[2, 3, 0, 0], [2, 1, 2, 3]] and batch["label"].tolist() == [1, 0]
    model = TextClassifier(vocab_size=data.vocab_size).eval()
    longer = torch.cat([batch["tokens"], torch.zeros(2, 3, dtype=torch.int64)], 1)
    assert torch.allclose(model(batch["tokens"]), model(longer), atol=1e-6)  # padding does not count
