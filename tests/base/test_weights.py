"""A new run that begins with the weights of another."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from base import CheckpointError, fit
from base.checkpoint.init_from import read_weights, take_weights
from base.checkpoint.store import CheckpointStore
from base.registry import MODELS
from tests.small_run import small_config


def begun(config: Path, source: object, **changes: object) -> dict[str, torch.Tensor]:
    """The weights at save 0."""
    run = fit(config, {"init_from": str(source), "trainer.keep": 9, **changes})
    store = CheckpointStore(run.path / "checkpoints")
    return store.load(store.names()[0]).weights()


def test_a_run_begins_with_the_best_weights_of_another(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    first = fit(config)
    best = CheckpointStore(first.path / "checkpoints").load("best").weights()
    for source in (first.path, first.path / "best", first.path / "checkpoints" / "last"):
        assert all(torch.equal(best[name], tensor) for name, tensor in begun(config, source, seed=1).items())


def test_a_replaced_head_is_left_and_named(garments: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = fit(small_config(tmp_path, garments))
    caplog.set_level(logging.INFO)
    config = small_config(tmp_path, garments, trainer__verbosity=2)
    weights = begun(config, first.path, **{"model.args.num_classes": 12})
    trained = CheckpointStore(first.path / "checkpoints").load("best").weights()
    assert torch.equal(weights["layers.0.weight"], trained["layers.0.weight"])
    assert "2 of the model's 4 tensors taken" in caplog.text
    assert "layers.2.weight (10, 16) -> (12, 16)" in caplog.text


def test_weights_of_another_network_are_refused(garments: Path, tmp_path: Path) -> None:
    first = fit(small_config(tmp_path, garments))
    with pytest.raises(CheckpointError, match="none of its 4 tensors fits"):
        begun(small_config(tmp_path, garments, model="LeNet"), first.path)
    (tmp_path / "weights.safetensors").write_text("no weights")
    with pytest.raises(CheckpointError, match="not a safetensors file"):
        begun(small_config(tmp_path, garments), tmp_path / "weights.safetensors")


def test_torchvisions_weights_are_checked_by_hash_and_not_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import WeightsEnum

    asked: list[dict[str, Any]] = []

    def download(self: Any, **options: Any) -> dict[str, torch.Tensor]:
        asked.append(options)
        return {"fc.bias": torch.ones(10)}

    monkeypatch.setattr(WeightsEnum, "get_state_dict", download)
    model = MODELS.get("squeezenet1_0")(num_classes=10)
    with pytest.raises(CheckpointError, match="none of its 1 tensors fits the model"):
        take_weights({"model": model}, "torchvision:ResNet18_Weights.DEFAULT")
    assert asked == [{"progress": False, "weights_only": True, "check_hash": True}]
    for name in ("ResNet18_Weights.NONE", "os.system", "ResNet"):
        with pytest.raises(CheckpointError, match=f"torchvision:{re.escape(name)}: torchvision has no such weights"):
            read_weights(f"torchvision:{name}")


def test_a_model_of_torchvision_takes_other_channels() -> None:
    model = MODELS.get("resnet18")(in_channels=1, num_classes=4)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 4) and model.conv1.bias is None
    assert MODELS.get("resnet18")().conv1.in_channels == 3
    with pytest.raises(ValueError, match="in_channels: 0: the model does not start with a convolution"):
        MODELS.get("resnet18")(in_channels=0)
