"""The table of epochs: what stands where, and what is left out when there is no room."""

from __future__ import annotations

from typing import Any

import pytest

from logger.epoch_table import ROWS, EpochTable, epoch_line
from logger.jsonl import Tags


def table(
    monitor: str = "val_accuracy", epochs: int = 10, metrics: tuple[str, ...] = ("accuracy",), **more: Any
) -> EpochTable:
    return EpochTable(Tags(metrics, ["", "night"]), monitor, epochs, **more)


def row(epoch: int, **values: Any) -> dict[str, Any]:
    named = {"loss": 1 / epoch, "accuracy": 0.5, "val_loss": 2 / epoch, "val_accuracy": 0.6 + epoch / 100, "lr": 1e-3}
    clock = {"seconds": 12.3, "samples_per_second": 4873.2}
    return {"epoch": epoch, "step": 938 * epoch, "phase": "epoch", **named, **clock, "grad_norm": 2.0, **values}


def test_training_and_validation_stand_side_by_side_with_the_change_against_the_best() -> None:
    rows = table()
    assert [rows.row(row(1), True), rows.row(row(2, val_accuracy=0.55), False), rows.row(row(10), True)] == [
        "             loss                accuracy\n"
        "epoch     train     val     train     val  change         lr       time       left   samples/s\n"
        " 1/10    1.0000  2.0000    0.5000  0.6100              0.001       12 s   1:51 min       4,873  best",
        " 2/10    0.5000  1.0000    0.5000  0.5500 -0.0600      0.001       12 s       98 s       4,873",
        "10/10    0.1000  0.2000    0.5000  0.7000 +0.0900      0.001       12 s                  4,873  best",
    ]


def test_columns_stand_under_their_heading_whatever_comes() -> None:
    rows, heading, ends = table(), "", []
    for one in (row(1), row(2, loss=123456.7), row(3, loss=float("nan"), seconds=7387)):
        lines = rows.row(one, False).splitlines()
        heading = lines[-2] if len(lines) > 1 else heading
        ends.append(lines[-1][: heading.index("val") + 3].split()[-1])
    assert ends == ["2.0000", "1.0000", "0.6667"]


def test_the_heading_comes_again_after_some_rows_and_when_columns_are_new() -> None:
    rows = table(epochs=100)
    with_heading = [n for n in range(1, ROWS + 3) if "\n" in rows.row(row(n), False)]
    assert with_heading == [1, ROWS + 1]
    assert "penalty" in rows.row(row(50, penalty=0.1), False)
    assert "\n" not in rows.row(row(51), False)


def test_what_matters_least_is_left_out_of_a_narrow_terminal_and_said() -> None:
    rows = table(metrics="accuracy top_k_accuracy", width=80)
    said, *lines = rows.row(row(1, top_k_accuracy=0.8, val_top_k_accuracy=0.9), True).splitlines()
    assert said == "5 more columns in a wider terminal, and all of it in train.log"
    assert all(len(line) <= 80 for line in lines)
    assert {"epoch", "train", "val", "change", "time", "left"} <= {*lines[1].split()}
    assert lines[2].endswith("best")


def test_the_watched_value_stays_however_narrow_it_is() -> None:
    lines = table(width=10).row(row(1), False).splitlines()
    assert lines[-1].split() == ["1/10", "0.6100"]


def test_evaluations_inside_an_epoch_and_further_sets() -> None:
    rows = table("val_night_accuracy")
    inside = {"epoch": 1, "step": 1200, "phase": "step", "val_accuracy": 0.6, "val_night_accuracy": 0.4}
    _, below, line = rows.row(inside, True).splitlines()
    assert below.split() == ["epoch", "step", "val", "val_night", "change"]
    assert line.split() == ["1/10", "1,200", "0.6000", "0.4000", "best"]
    assert rows.row(row(1), False).splitlines()[-1].split()[:2] == ["1/10", "938"]


def test_a_resumed_table_knows_the_best() -> None:
    assert "+0.0200" in table(best=0.6).row(row(2), True)


def test_the_test_row_is_a_line() -> None:
    assert table().row({"epoch": 10, "step": 9, "phase": "test", "test_loss": 0.5}, False) == "test  test_loss 0.5000"


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (
            {
                "epoch": 3,
                "step": 2814,
                "phase": "epoch",
                "loss": 0.43219,
                "accuracy": 0.84,
                "val_loss": 0.39,
                "val_accuracy": 0.86,
                "lr": 1e-3,
                "seconds": 12.31,
                "samples_per_second": 4873.2,
                "grad_norm": 2.0,
            },
            "epoch  3/10  loss 0.4322  accuracy 0.8400  val_loss 0.3900  val_accuracy 0.8600  lr 0.001"
            "  12 s  4,873 samples/s",
        ),
        ({"epoch": 10, "step": 1200, "phase": "step", "val_loss": 0.39}, "epoch 10/10 step 1200  val_loss 0.3900"),
        ({"epoch": 10, "step": 9380, "phase": "test", "test_accuracy": 0.9}, "test  test_accuracy 0.9000"),
        ({"epoch": 1, "step": 938, "phase": "epoch", "loss": float("nan")}, "epoch  1/10  loss nan"),
        (
            {"epoch": 1, "step": 9, "phase": "epoch", "lr/body": 0.1, "lr/head": 1},
            "epoch  1/10  lr/body 0.1  lr/head 1",
        ),
    ],
)
def test_epoch_line(row: dict[str, Any], line: str) -> None:
    assert epoch_line(row, 10) == line
    assert epoch_line(row, 10, improved=True) == f"{line}  best"
