"""Callbacks that draw: each leaves what it promises under its tag, and the numbers of the run as they are."""

from __future__ import annotations

import signal
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from base import CALLBACKS, Callback, fit
from base.run import Run
from tests.small_run import assert_same, assert_same_run, last_state, rows, small_config

NET = {"type": "ConvNet", "args": {"widths": [4, 6], "hidden": 8}}
ALL = ["InputGrid", "ClassReport", "FeatureMaps", "Histograms", "DeadUnits", "Gap", "ModelGraph"]
PICTURES = {f"{name}/val" for name in ("confusion", "per_class", "calibration", "worst")}


def config(folder: Path, garments: Path, **changes: Any) -> Path:
    usual = {"model": NET, "trainer__tensorboard": True, "trainer__epochs": 2, "trainer__log_every": 2}
    return small_config(folder, garments, **(usual | changes))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, garments: Path) -> Run:
    return fit(config(tmp_path_factory.mktemp("plain"), garments))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, garments: Path) -> Run:
    return fit(config(tmp_path_factory.mktemp("drawn"), garments, callbacks=ALL))


def events(run: Run) -> EventAccumulator:
    return EventAccumulator(str(run.path), size_guidance={"images": 0, "scalars": 0, "histograms": 0}).Reload()


def scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    read = events(run)
    tags = [tag for tag in read.Tags()["scalars"] if not tag.startswith("system/")]
    return {tag: [(event.step, event.value) for event in read.Scalars(tag)] for tag in tags}


def pixels(data: bytes) -> torch.Tensor:
    with Image.open(BytesIO(data)) as image:
        return torch.tensor(image.convert("L").getcolors(256))


def test_without_callbacks_the_numbers_are_equal_to_the_last_bit(plain: Run, drawn: Run) -> None:
    """What the callbacks keep of themselves is all that differs."""
    before, after = last_state(plain), last_state(drawn)
    kept = after.pop("components")
    assert before.pop("components") == {} and all(path.startswith("callbacks.") for path in kept)
    assert_same(before, after)
    assert rows(plain) == rows(drawn)
    own = scalars(plain)
    assert {tag: values for tag, values in scalars(drawn).items() if tag in own} == own


def test_every_picture_can_be_read_and_shows_something(drawn: Run) -> None:
    read = events(drawn)
    assert set(read.Tags()["images"]) == PICTURES | {"inputs/train", "features/features.0.0"}
    for tag in read.Tags()["images"]:
        steps = [event.step for event in read.Images(tag)]
        assert steps == ([1] if tag == "inputs/train" else [4, 8]), tag
        for event in read.Images(tag):
            assert len(pixels(event.encoded_image_string)) > 10, tag


def test_curves_and_histograms(drawn: Run) -> None:
    shown = scalars(drawn)
    row = {tag: values[-1][1] for tag, values in shown.items()}
    assert row["gap/loss"] == pytest.approx(row["loss/val"] - row["loss/train"], abs=1e-6)
    assert [step for step, _ in shown["dead_units/features.0.2"]] == [4, 8]
    assert 0 <= row["dead_units/classifier.1"] <= 1
    assert sum(tag.startswith("f1/") for tag in shown) == 10
    assert 0 < row["ece/val"] < 1
    read = events(drawn)
    names = [name for name, _ in drawn.model.named_parameters()]
    assert set(read.Tags()["histograms"]) == {f"{kind}/{name}" for kind in ("weights", "gradients") for name in names}
    (*_, last) = read.Histograms(f"weights/{names[0]}")
    assert last.histogram_value.sum == pytest.approx(next(drawn.model.parameters()).sum().item(), abs=1e-4)
    assert all(event.histogram_value.sum_squares > 0 for event in read.Histograms(f"gradients/{names[0]}"))


def test_the_graph_has_the_layers_and_how_they_hang_together(drawn: Run) -> None:
    nodes = {node.name: node for node in events(drawn).Graph().node}
    assert {name for name, node in nodes.items() if not node.input} >= {"input", "model/features/0/0/weight"}
    behind, todo = set(), ["model/classifier/3/addmm"]
    while todo:
        behind.add(todo[-1])
        todo += [name for name in nodes[todo.pop()].input if name not in behind]
    assert behind >= {"input", "model/features/0/0/convolution", "model/features/1/2/relu", "model/classifier/0/bias"}
    assert [dim.size for dim in nodes["input"].attr["_output_shapes"].list.shape[0].dim] == [64, 1, 28, 28]


def test_a_resumed_run_shows_what_an_unbroken_one_does(drawn: Run, tmp_path: Path, garments: Path) -> None:
    """Stopped in the first epoch: the first step's inputs are not drawn again, the epoch's pictures once."""
    some = [name for name in ALL if name != "ClassReport"]
    path = fit(config(tmp_path, garments, callbacks=[*some, {"type": "StopAt", "args": {"step": 2}}])).path
    resumed = fit(resume=path, overrides={"callbacks": some})
    assert resumed.reason == "finished"
    own, all_of_them = scalars(resumed), scalars(drawn)
    assert own == {tag: points for tag, points in all_of_them.items() if tag in own}
    one, two = events(resumed), events(drawn)
    assert set(one.Tags()["images"]) == {"inputs/train", "features/features.0.0"}
    for tag in one.Tags()["images"]:
        assert [(e.step, e.encoded_image_string) for e in one.Images(tag)] == [
            (e.step, e.encoded_image_string) for e in two.Images(tag)
        ], tag
    for tag in one.Tags()["histograms"]:
        assert [(e.step, e.histogram_value) for e in one.Histograms(tag)] == [
            (e.step, e.histogram_value) for e in two.Histograms(tag)
        ], tag


def test_what_cannot_be_shown_is_told_once(tmp_path: Path, garments: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Only every second epoch and the last are looked at; nothing is drawn, and the run goes on."""
    picked = [{"type": "ClassReport", "args": {"every": 2}}, "FeatureMaps", "DeadUnits", "InputGrid"]
    changes: dict[str, Any] = {"data__valid": None, "model": {"type": "MLP"}, "callbacks": picked}
    run = fit(config(tmp_path, garments, **changes))
    assert run.reason == "finished"
    told = [record.getMessage() for record in caplog.records if "shows nothing" in record.getMessage()]
    assert told == [
        f"{name} shows nothing: there is no validation data" for name in ("FeatureMaps", "DeadUnits", "ClassReport")
    ]


def test_looks_are_taken_when_they_are_due(tmp_path: Path, garments: Path) -> None:
    picked = [{"type": "Histograms", "args": {"every": 3}}]
    run = fit(config(tmp_path, garments, callbacks=picked, trainer__epochs=5, model={"type": "MLP"}))
    read = events(run)
    for tag in read.Tags()["histograms"]:
        assert [event.step for event in read.Histograms(tag)] == [12, 20], tag


@CALLBACKS.register
class SignalAfter(Callback):
    """What a user who presses Ctrl-C while pictures are drawn does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_epoch_end(self, trainer: Any, row: Any) -> None:
        if row["epoch"] == self.epoch:
            signal.raise_signal(signal.SIGINT)


def test_a_signal_while_drawing_leaves_the_picture_out(plain: Run, tmp_path: Path, garments: Path) -> None:
    picked = [{"type": "SignalAfter", "args": {"epoch": 1}}, "ClassReport"]
    run = fit(config(tmp_path, garments, callbacks=picked))
    assert (run.reason, run.signal) == ("signal", signal.SIGINT)
    resumed = fit(resume=run.path)
    assert_same_run(plain, resumed)
    assert [event.step for event in events(resumed).Images("confusion/val")] == [8]
