"""Event files as TensorBoard reads them back, by its own readers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginEventAccumulator

from logger.tensorboard_writer import EventBuffer, NullEventWriter, TensorBoardWriter, cut_back, next_path


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def points_in_the_app(folder: Path, tag: str) -> list[tuple[int, float]]:
    """By the reader that the TensorBoard server has, where a scalar has become a tensor."""
    from tensorboard.util.tensor_util import make_ndarray

    accumulator = PluginEventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return [(event.step, make_ndarray(event.tensor_proto).item()) for event in accumulator.Tensors(tag)]


def write_steps(writer: TensorBoardWriter, steps: range, value: float) -> dict[str, int]:
    for step in steps:
        writer.add_scalar("loss", value, step)
    return writer.flush()


def test_scalars_come_back(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.add_scalar("loss", 0.5, 1)
    writer.add_values({"loss": 0.25, "accuracy": 1}, 2)
    writer.add_scalar("loss", torch.tensor(0.125).item(), global_step=3)
    writer.close()
    assert points(tmp_path, "loss") == [(1, 0.5), (2, 0.25), (3, 0.125)]
    assert points(tmp_path, "accuracy") == [(2, 1.0)]


def test_flush_tells_the_length_of_what_is_written(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    assert writer.flush() == {}
    assert list(tmp_path.iterdir()) == []
    lengths = write_steps(writer, range(3), 0.5)
    assert lengths == {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    writer.sync()
    writer.close()


@pytest.mark.parametrize("truncated", [True, False])
def test_a_resumed_curve_has_every_step_once(tmp_path: Path, truncated: bool) -> None:
    """Also where the first file keeps its surplus: a server that has read it sees it again only in its own memory."""
    first = TensorBoardWriter(tmp_path)
    saved = write_steps(first, range(1, 6), 0.5)
    write_steps(first, range(6, 11), 0.75)
    first.close()
    if truncated:
        assert cut_back(tmp_path, saved) == saved
    second = TensorBoardWriter(tmp_path, purge_step=6)
    write_steps(second, range(6, 9), 0.25)
    second.close()
    expected = [*((step, 0.5) for step in range(1, 6)), *((step, 0.25) for step in range(6, 9))]
    assert points(tmp_path, "loss") == expected
    assert points_in_the_app(tmp_path, "loss") == expected


def test_a_running_server_continues_the_curve(tmp_path: Path) -> None:
    first = TensorBoardWriter(tmp_path)
    saved = write_steps(first, range(1, 6), 0.5)
    write_steps(first, range(6, 11), 0.75)
    first.close()
    server = PluginEventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload()
    cut_back(tmp_path, saved)
    second = TensorBoardWriter(tmp_path, purge_step=6)
    write_steps(second, range(6, 9), 0.25)
    second.close()
    assert [event.step for event in server.Reload().Tensors("loss")] == list(range(1, 9))


def test_a_file_the_save_did_not_know_is_removed_and_a_foreign_one_stays(tmp_path: Path) -> None:
    for name in (
        "events.out.tfevents.0000000007.run",
        "events.out.tfevents.0000000008.test",
        "events.out.tfevents.9.host.1.0",
    ):
        (tmp_path / name).write_bytes(b"something")
    assert cut_back(tmp_path, {}) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "events.out.tfevents.0000000008.test",
        "events.out.tfevents.9.host.1.0",
    ]


def test_a_new_file_is_stamped_later_than_all_others(tmp_path: Path) -> None:
    """A folder that comes from a machine whose clock is ahead."""
    (tmp_path / "events.out.tfevents.9000000000.somewhere.12345678901.0").touch()
    assert next_path(tmp_path).name == "events.out.tfevents.9000000001.run"
    next_path(tmp_path).touch()
    assert next_path(tmp_path).name == "events.out.tfevents.9000000002.run"


def test_the_prologue_comes_first_and_once(tmp_path: Path) -> None:
    found: list[list[Path]] = []
    writer = TensorBoardWriter(tmp_path, prologue=lambda: found.append(list(tmp_path.iterdir())))
    writer.add_scalar("loss", 0.5, 10)
    writer.add_scalar("loss", 0.5, 11)
    writer.close()
    assert found == [[]]


def test_a_whole_file_in_memory(tmp_path: Path) -> None:
    buffer = EventBuffer()
    buffer.add_scalar("loss", 0.5, 10)
    buffer.add_text("config", "lr: 0.1")
    (tmp_path / "events.out.tfevents.0000000001.about").write_bytes(buffer.data)
    assert points(tmp_path, "loss") == [(10, 0.5)]
    (text,) = read(tmp_path).Tensors("config/text_summary")
    assert (text.step, text.tensor_proto.string_val[0]) == (0, b"lr: 0.1")


@pytest.mark.parametrize(
    ("image", "dataformats"),
    [
        (torch.rand(3, 8, 6), "CHW"),
        (np.zeros((8, 6, 3), dtype=np.uint8), "HWC"),
        (torch.zeros(8, 6, dtype=torch.uint8), "HW"),
    ],
)
def test_images_come_back(tmp_path: Path, image: Any, dataformats: str) -> None:
    writer = TensorBoardWriter(tmp_path)
    writer.add_image("grid", image, 4, dataformats=dataformats)
    writer.close()
    (event,) = read(tmp_path).Images("grid")
    assert (event.step, event.width, event.height) == (4, 6, 8)
    assert event.encoded_image_string.startswith(b"\x89PNG")


def test_a_figure_comes_back(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    writer = TensorBoardWriter(tmp_path)
    writer.add_figure("curves", Figure(figsize=(2, 1), dpi=50), 4)
    writer.close()
    (event,) = read(tmp_path).Images("curves")
    assert (event.step, event.width, event.height) == (4, 100, 50)
    assert int.from_bytes(event.encoded_image_string[16:20]) == 100


def test_a_histogram_leaves_out_what_is_not_finite(tmp_path: Path) -> None:
    writer = TensorBoardWriter(tmp_path)
    weights = torch.tensor([[0.0, 1.0], [2.0, float("nan")]], requires_grad=True)
    writer.add_histogram("weights", weights, 4)
    writer.add_histogram("weights", torch.tensor([float("inf")]), 5)
    writer.close()
    (event,) = read(tmp_path).Histograms("weights")
    assert (event.step, event.histogram_value.num, event.histogram_value.max) == (4, 3, 2.0)


def test_the_null_writer_takes_everything(tmp_path: Path) -> None:
    writer = NullEventWriter()
    writer.add_scalar("a", 1.0, 1)
    writer.add_values({"a": 1.0}, 1)
    writer.add_text("a", "b", 1)
    writer.add_image("a", torch.zeros(1, 2, 2), 1, dataformats="CHW")
    writer.add_histogram("a", torch.zeros(1), 1, bins="auto")
    writer.add_figure("a", object(), 1, close=False)
    writer.sync()
    writer.close()
    assert writer.flush() == {}


def test_tensorboard_is_imported_by_the_first_write(tmp_path: Path) -> None:
    code = f"""if True:
        import sys
        from pathlib import Path
        from logger.tensorboard_writer import TensorBoardWriter
        writer = TensorBoardWriter(Path({str(tmp_path)!r}))
        writer.flush()
        assert not {{"torch", "tensorboard"}} & set(sys.modules)
        writer.add_scalar("loss", 0.5, 1)
        assert "tensorboard" in sys.modules and "torch" not in sys.modules
    """
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
