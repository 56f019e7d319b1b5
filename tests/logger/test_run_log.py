"""The log of a run, whole: what is on the disk after a run and after a broken one, and what stands on the console."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from base.errors import WriteError
from base.protocols import RunLog as Protocol
from base.registry import WRITERS
from logger.console import EPOCH, set_up
from logger.jsonl import read_lines
from logger.run_log import ABOUT, NullLog, run_log

HEADER = {"data": "synthetic", "metrics": ["accuracy"], "valid_sets": [""]}


def open_log(folder: Path, **options: Any) -> Protocol:
    folder.mkdir(exist_ok=True)
    given: dict[str, Any] = {"header": HEADER, "tensorboard": True, "verbosity": 2, "monitor": "val_loss", "epochs": 4}
    return run_log(folder, **(given | options))


def train(log: Protocol, epochs: range, noise: float = 0.0) -> None:
    """Two steps an epoch; odd epochs are better than all before."""
    for epoch in epochs:
        for step in (2 * epoch - 1, 2 * epoch):
            log.scalars(step, {"loss": 1 / step + noise, "lr": 0.1 / step, "grad_norm": noise})
        row = {"epoch": epoch, "step": 2 * epoch, "phase": "epoch", "loss": 1 / epoch + noise, "val_loss": 2.0 - epoch}
        log.row(row | {"lr": 0.1}, improved=epoch % 2 == 1)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.endswith("_gib")]
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in tags}


def texts(folder: Path) -> dict[str, list[bytes]]:
    events = EventAccumulator(str(folder)).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if not tag.startswith("_hparams_")]
    return {tag: [e.tensor_proto.string_val[0] for e in events.Tensors(tag)] for tag in tags}


def test_a_log_that_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").mkdir()
    before = list(logging.getLogger().handlers)
    with pytest.raises(WriteError, match=r"metrics\.jsonl"):
        open_log(tmp_path)
    assert logging.getLogger().handlers == before


def test_the_trainer_finds_both_logs_by_name() -> None:
    assert WRITERS.get("run_log") is run_log
    assert WRITERS.get("NullLog") is NullLog


def test_a_finished_run(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    train(log, range(1, 3))
    log.end("finished")
    log.close()
    assert [line.get("end", line.get("step")) for line in read_lines(tmp_path / "metrics.jsonl")] == [
        None,
        2,
        4,
        "finished",
    ]
    assert scalars(tmp_path) == {
        "loss/step": [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)],
        "lr": [(step, pytest.approx(0.1 / step)) for step in (1, 2, 3, 4)],
        "grad_norm": [(step, 0.0) for step in (1, 2, 3, 4)],
        "loss/train": [(2, 1.0), (4, 0.5)],
        "loss/val": [(2, 1.0), (4, 0.0)],
        "best/val_loss": [(2, 1.0)],
    }


def test_a_broken_run_gone_on_with_leaves_what_an_unbroken_one_leaves(tmp_path: Path) -> None:
    unbroken, broken = open_log(tmp_path / "a"), open_log(tmp_path / "b")
    train(unbroken, range(1, 5))
    unbroken.end("finished")
    train(broken, range(1, 2))
    lengths = broken.flush()
    broken.sync()
    train(broken, range(2, 4), noise=0.5)
    broken.end("error")
    again = open_log(tmp_path / "b", lengths=lengths, purge_step=3)
    train(again, range(2, 4), noise=0.25)
    third = open_log(tmp_path / "b", lengths=lengths, purge_step=3)
    train(third, range(2, 5))
    third.end("finished")
    for log in (unbroken, broken, again, third):
        log.close()
    assert (tmp_path / "b/metrics.jsonl").read_bytes() == (tmp_path / "a/metrics.jsonl").read_bytes()
    assert scalars(tmp_path / "b") == scalars(tmp_path / "a")
    assert texts(tmp_path / "b") == texts(tmp_path / "a")


def test_going_on_from_the_save_before_the_first_step(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    lengths = log.flush()
    train(log, range(1, 2))
    log.close()
    log = open_log(tmp_path, lengths=lengths, purge_step=1)
    train(log, range(1, 2))
    log.close()
    assert scalars(tmp_path)["loss/train"] == [(2, 1.0)]
    assert len(texts(tmp_path)["run/text_summary"]) == 1


def test_the_lengths_are_those_of_all_files_also_when_tensorboard_is_switched_off(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    train(log, range(1, 2))
    lengths = log.flush()
    log.close()
    written = {p.name: p.stat().st_size for p in tmp_path.iterdir() if p.name not in ("train.log", ABOUT)}
    assert lengths == written
    log = open_log(tmp_path, lengths=lengths, purge_step=3, tensorboard=False)
    train(log, range(2, 3))
    later = log.flush()
    log.close()
    assert later["metrics.jsonl"] > lengths["metrics.jsonl"]
    assert later == lengths | {"metrics.jsonl": later["metrics.jsonl"]}


def test_what_tensorboard_shows_beside_the_curves(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: small\n")
    (tmp_path / "environment.json").write_text('{"python": "3.11"}\n')
    (tmp_path / "notes.jsonl").write_text('{"time": "2026-11-20 16:42:03", "note": "why", "tags": ["a", "b"]}\n')
    log = open_log(tmp_path)
    train(log, range(1, 2))
    log.close()
    shown = texts(tmp_path)
    assert shown["config/text_summary"] == [b"```yaml\nname: small\n\n```"]
    assert b'"python"' in shown["environment/text_summary"][0]
    assert b'"data": "synthetic"' in shown["run/text_summary"][0]
    assert shown["notes/text_summary"] == [b"```text\n2026-11-20 16:42:03 why #a #b\n```"]
    assert b"accuracy/train$" in shown["custom_scalars__config__"][0]


def test_without_tensorboard_there_is_no_event_file(tmp_path: Path) -> None:
    log = open_log(tmp_path, tensorboard=False)
    train(log, range(1, 2))
    log.writer.add_scalar("mine", 1.0, 1)
    log.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.jsonl", "train.log"]


def test_a_callback_s_last_words_are_written_at_the_end(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.writer.add_scalar("mine", 1.0, 7)
    log.close()
    assert scalars(tmp_path) == {"mine": [(7, 1.0)]}


def test_the_console_has_a_table_of_epochs_and_the_train_log_lines_to_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    set_up(1)
    log = open_log(tmp_path, verbosity=1)
    logging.getLogger("base").info("for the train log")
    train(log, range(1, 3))
    log.close()
    assert capsys.readouterr().out.splitlines() == [
        "                 loss",
        "epoch     train     val  change         lr",
        "  1/4    1.0000  1.0000                0.1  best",
        "  2/4    0.5000  0.0000 -1.0000        0.1",
    ]
    lines = [
        "epoch 1/4  loss 1.0000  val_loss 1.0000  lr 0.1  best",
        "epoch 2/4  loss 0.5000  val_loss 0.0000  lr 0.1",
    ]
    assert [vars(record)["improved"] for record in caplog.records if record.levelno == EPOCH] == [True, False]
    assert [line[24:] for line in (tmp_path / "train.log").read_text().splitlines()] == [
        "INFO    for the train log",
        *(f"EPOCH   {line}" for line in lines),
    ]


def test_not_finite_values_are_logged_everywhere(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    log.row({"epoch": 1, "step": 1, "phase": "epoch", "loss": float("inf")})
    log.close()
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[1])["nonfinite"] == ["loss"]
    assert scalars(tmp_path)["loss/train"] == [(1, float("inf"))]


def test_the_null_log_takes_what_a_log_takes() -> None:
    log: Protocol = NullLog()
    log.begin_phase("train 1/1", 10)
    log.advance(dict)
    log.end_phase()
    log.scalars(1, {"loss": 1.0})
    log.row({"step": 1}, improved=True)
    log.end("finished")
    log.sync()
    log.close()
    assert log.flush() == {}
