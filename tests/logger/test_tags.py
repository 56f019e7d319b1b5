"""Which name becomes which tag."""

from __future__ import annotations

import re

import pytest

from logger.jsonl import Tags


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("loss", "loss/train"),
        ("val_loss", "loss/val"),
        ("test_loss", "loss/test"),
        ("accuracy", "accuracy/train"),
        ("top_k", "top_k/train"),
        ("val_top_k", "top_k/val"),
        ("val_night_loss", "loss/val_night"),
        ("val_night_snow_top_k", "top_k/val_night_snow"),
        ("val_night_rate", "night_rate/val"),
        ("val_cross_entropy", "cross_entropy/val"),
        ("seconds", "system/seconds"),
        ("samples_per_second", "system/samples_per_second"),
    ],
)
def test_tag(name: str, tag: str) -> None:
    tags = Tags(metrics=["accuracy", "top_k", "night_rate"], valid_sets=["", "night", "night_snow"])
    assert tags.tag(name) == tag


def test_a_row_leaves_the_place_and_the_optimizer_out() -> None:
    row = {
        "epoch": 1,
        "step": 9,
        "phase": "epoch",
        "loss": 0.5,
        "lr": 0.1,
        "lr/head": 0.2,
        "note": "x",
        "accuracy": None,
    }
    assert Tags().of_row(row) == {"loss/train": 0.5}


def test_steps_have_tags_of_their_own() -> None:
    values = {"loss": 0.5, "lr": 0.1, "lr/head": 0.2, "grad_norm": 3.0, "system/memory": 7.0}
    expected = {"loss/step": 0.5, "lr": 0.1, "lr/head": 0.2, "grad_norm": 3.0, "system/memory": 7.0}
    assert Tags().of_step(values) == expected


def test_a_chart_has_training_and_every_validation_set_and_nothing_else() -> None:
    (charts,) = Tags(metrics=["top.k"]).charts().values()
    kind, patterns = charts["top.k"]
    shown = ["top.k/train", "top.k/val", "top.k/val_night"]
    hidden = ["top.k/test", "top.k/step", "topak/train", "top.k/training", "loss/val"]
    assert kind == "Multiline"
    assert [tag for tag in shown + hidden if any(re.match(pattern, tag) for pattern in patterns)] == shown
    assert list(charts) == ["loss", "top.k"]
