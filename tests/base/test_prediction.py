"""`test.py --input`: files go the way of the dataset's samples, or are refused with what was found and expected."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from base import cli, evaluate, fit
from base.errors import DataError
from base.evaluation.predict import predict
from data_loader.image_datasets import find_idx, read_idx
from tests.small_run import small_config, write_garments


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained and tested on data that is gone since."""
    folder = tmp_path_factory.mktemp("predicting")
    write_garments(folder / "data")
    path = fit(small_config(folder, folder / "data")).path
    evaluate(path, pictures=False)
    file = find_idx(folder / "data" / "FashionMNIST" / "raw", "t10k-images-idx3-ubyte")
    assert file is not None
    np.savez(folder / "all.npz", read_idx(file, 3).numpy()[:, None])
    shutil.rmtree(folder / "data")
    return path


@pytest.fixture
def images(run: Path) -> np.ndarray:
    return np.load(run.parents[2] / "all.npz")["arr_0"]


def test_an_array_gives_what_testing_gave(run: Path) -> None:
    table = list(csv.DictReader((run / "test/test/predictions.csv").read_text().splitlines()))
    found = list(predict(run, run.parents[2] / "all.npz"))
    assert len(found) == 96
    assert found[7].source.endswith("all.npz[7]")
    assert [p.top[0][0] for p in found] == [row["prediction_name"] for row in table]
    given = np.array([p.output for p in found])
    chances = np.array([[float(row[name]) for name in row if name.startswith("p(")] for row in table])
    assert np.allclose(given, chances, atol=2e-6)


def test_a_folder_prints_a_line_for_each_file(
    run: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Colours become gray; what is no image is passed over."""
    Image.fromarray(images[0, 0]).save(tmp_path / "b.png")
    Image.fromarray(images[1, 0]).convert("RGB").save(tmp_path / "a.bmp")
    np.savez(tmp_path / "c.npz", input=images[2], other=np.zeros(3))
    (tmp_path / "notes.txt").write_text("none")
    assert cli.test(["-r", str(run), "--input", str(tmp_path), "--top-k", "2"]) == 0
    expected = [p.top for p in predict(run, run.parents[2] / "all.npz", top_k=2)]
    lines = [line.split("   ") for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines] == [str(tmp_path / name) for name in ("a.bmp", "b.png", "c.npz")]
    for line, place in zip(lines, (1, 0, 2), strict=True):
        assert line[1:] == [f"{name} {probability:.4f}" for name, probability in expected[place]]


def test_a_transform_that_resizes_makes_any_size_fit(run: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((56, 56), 90, np.uint8)).save(tmp_path / "big.png")
    with pytest.raises(DataError) as refused:
        list(predict(run, tmp_path / "big.png"))
    what, _, override = str(refused.value).partition("; resize the file, or add: ")
    assert what == f"{tmp_path / 'big.png'}: after data.transform.eval it is 1x56x56, and the model takes 1x28x28"
    (found,) = predict(run, tmp_path / "big.png", overrides=[override.strip("'")])
    assert len(found.top) == 3


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("none.png", "none.png: there is no such file or folder"),
        ("text.png", "text.png: not an image, nor an .npz file"),
        ("torn.png", "torn.png: cannot be read: "),
        ("deep.png", "deep.png: its pixels are of mode I;16; expected 8 bits a channel"),
        ("empty", "empty: there is no image and no .npz file in this folder (.npz, .png, "),
        ("two.npz", "two.npz: which array? expected one named 'input', or a single one; found ['a', 'b']"),
        (
            "float.npz",
            "float.npz: array 'arr_0' is float32 of shape (3, 1, 28, 28); expected uint8 of shape (N, 1, 28, 28), as",
        ),
        ("flat.npz", "flat.npz: array 'arr_0' is uint8 of shape (3, 28, 28); expected uint8 of shape (N, 1, 28, 28), "),
        ("object.npz", "object.npz: cannot be read as .npz: Object arrays cannot be loaded when allow_pickle=False"),
        ("text.npz", "text.npz: cannot be read as .npz: "),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, what: str, run: Path, images: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(images[0, 0]).save(tmp_path / "whole.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "whole.png").read_bytes()[:300])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "text.npz").write_text("no array")
    Image.fromarray(np.zeros((28, 28), np.uint16)).save(tmp_path / "deep.png")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "two.npz", a=images[:1], b=images[:1])
    np.savez(tmp_path / "float.npz", images[:3].astype(np.float32))
    np.savez(tmp_path / "flat.npz", images[:3, 0])
    np.savez(tmp_path / "object.npz", np.array([{}], dtype=object))
    assert cli.test(["-r", str(run), "--input", str(tmp_path / name)]) == 5
    assert what in capsys.readouterr().err


def test_one_thing_at_a_time(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--data", "valid"], ["--top-k", "0"]):
        with pytest.raises(SystemExit) as left:
            cli.test(["-r", str(run), "--input", "x.png", *flags])
        assert left.value.code == 2
        assert flags[0] in capsys.readouterr().err


def test_a_device_that_is_not_there(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(run.parents[2] / "all.npz")
    assert cli.test(["-r", str(run), "--input", file, "device=cuda:99"]) == 2
    printed = capsys.readouterr().err
    assert "device" in printed and "cuda:99" in printed and "device=cpu at the end of the command" in printed
