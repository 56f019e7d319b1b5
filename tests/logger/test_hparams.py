"""HParams as TensorBoard's own plugin answers: a row for each run, with its config and its metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.list_session_groups import Handler

from base import fit
from logger.tensorboard_writer import choices
from tests.logger.test_run_log import open_log, texts, train
from tests.small_run import small_config, stopped_and_resumed


def rows(saved: Path) -> dict[str, Any]:
    """The session groups of a folder of runs, by name, as the dashboard asks for them."""
    multiplexer = EventMultiplexer().AddRunsFromDirectory(str(saved))
    multiplexer.Reload()
    context = Context(TBContext(data_provider=MultiplexerDataProvider(multiplexer, str(saved))))
    statuses = [api_pb2.STATUS_UNKNOWN, api_pb2.STATUS_SUCCESS, api_pb2.STATUS_FAILURE, api_pb2.STATUS_RUNNING]
    request = api_pb2.ListSessionGroupsRequest(slice_size=99, allowed_statuses=statuses)
    answer = Handler(RequestContext(), context, "", request).run()
    return {group.name: group for group in answer.session_groups}


def metrics(row: Any) -> dict[str, float]:
    return {metric.name.tag: metric.value for metric in row.metric_values}


def hparams(row: Any) -> dict[str, Any]:
    return {name: getattr(value, str(value.WhichOneof("kind"))) for name, value in row.hparams.items()}


def status(row: Any) -> str:
    return str(api_pb2.Status.Name(row.sessions[0].status))


def test_every_run_has_a_row_with_its_config_and_metrics(tmp_path: Path) -> None:
    """Finished, failed, running, and killed and gone on with under another learning rate."""
    finished = open_log(tmp_path / "finished", config={"optimizer": {"args": {"lr": 0.1}}})
    train(finished, range(1, 3))
    finished.end("finished")
    finished.close()
    failed = open_log(tmp_path / "failed", config={"optimizer": {"type": "SGD", "args": {"lr": 0.2}}})
    train(failed, range(1, 2))
    failed.end("error")
    failed.close()
    running = open_log(tmp_path / "running", config={"optimizer": {"args": {"lr": 0.3}}})
    train(running, range(1, 3))
    killed = open_log(tmp_path / "killed", config={"optimizer": {"args": {"lr": 0.4}}})
    train(killed, range(1, 2))
    lengths = killed.flush()
    train(killed, range(2, 4), noise=0.5)
    resumed = open_log(tmp_path / "killed", config={"optimizer": {"args": {"lr": 0.5}}}, lengths=lengths, purge_step=3)
    train(resumed, range(2, 4))

    found = rows(tmp_path)
    assert {name: hparams(row)["optimizer.args.lr"] for name, row in found.items()} == {
        "finished": 0.1,
        "failed": 0.2,
        "running": 0.3,
        "killed": 0.5,
    }
    assert hparams(found["failed"])["optimizer.type"] == "SGD"
    assert {name: metrics(row)["loss/val"] for name, row in found.items()} == {
        "finished": 0.0,
        "failed": 1.0,
        "running": 0.0,
        "killed": -1.0,
    }
    assert metrics(found["killed"])["best/val_loss"] == -1.0
    assert {name: status(row) for name, row in found.items()} == {
        "finished": "STATUS_SUCCESS",
        "failed": "STATUS_FAILURE",
        "running": "STATUS_UNKNOWN",
        "killed": "STATUS_UNKNOWN",
    }
    for log in (running, killed, resumed):
        log.close()


def test_a_run_from_a_config(tmp_path: Path, garments: Path) -> None:
    config = small_config(tmp_path, garments, trainer__tensorboard=True, trainer__epochs=2)
    run = stopped_and_resumed(config, 3, 6)
    fit(config, {"optimizer.args.lr": 0.2, "name": "other"})
    found = rows(tmp_path / "saved")
    name = f"small/{run.path.name}"
    assert sorted(hparams(row)["optimizer.args.lr"] for row in found.values()) == [0.1, 0.2]
    assert {status(row) for row in found.values()} == {"STATUS_SUCCESS"}
    assert metrics(found[name])["accuracy/val"] == pytest.approx(run.trainer.eval_metrics["accuracy"].compute())
    (model,) = texts(run.path)["model/text_summary"]
    assert b"| layers.0 | Linear | 16 | 12,560 | 25,088 |" in model


def test_what_decides_a_run_becomes_a_column() -> None:
    config = {
        "name": "x",
        "seed": 1,
        "threads": None,
        "plugins": [],
        "data": {
            "valid": 0.1,
            "stratify": True,
            "transform": {"eval": [{"type": "ToFloat", "args": {}}, {"type": "N", "args": {"mean": [1, 2]}}]},
            "loader": {"num_workers": 4},
        },
        "model": {"type": "MLP", "args": {"num_classes": "${data.num_classes}", "hidden": [16, 8]}},
        "metrics": [{"type": "accuracy", "args": {}, "name": "acc"}],
        "trainer": {"save_dir": "saved", "verbosity": 0, "keep": 3, "epochs": 2},
    }
    assert choices(config) == {
        "seed": 1,
        "data.valid": 0.1,
        "data.stratify": True,
        "data.transform.eval": "ToFloat, N(mean=[1, 2])",
        "model.type": "MLP",
        "model.args.hidden": "16, 8",
        "metrics": "accuracy(name=acc)",
        "trainer.epochs": 2,
    }
