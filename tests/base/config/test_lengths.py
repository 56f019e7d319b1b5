"""Shipped configs contain nothing that never acts, and each can be shortened."""

from __future__ import annotations

from pathlib import Path

import pytest

from base.config import Config

CONFIGS = sorted(
    path for path in (Path(__file__).parents[3] / "configs").iterdir() if path.name != "schema.json" and path.is_file()
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_a_shipped_config_may_be_shortened_to_one_epoch(path: Path) -> None:
    assert Config.read(path).judged() == []
    assert Config.read(path, ["trainer.epochs=1"]).judged() == []
