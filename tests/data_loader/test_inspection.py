"""What tools/inspect_data.py says of planted data."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch.utils.data import Dataset, IterableDataset

from base import DATASETS
from base.cli import exit_code
from tests.small_run import write_garments
from tools.inspect_data import main

NORMAL = {"type": "Normalize", "args": {"mean": [0.5, 0.5], "std": [0.5, 0.5]}}


@DATASETS.register
class Planted(Dataset[Any]):
    """16 images of 2 channels from one file each, `part` by `part`; samples of its `extra` follow, by their names."""

    classes = ("dark", "bright")

    def __init__(self, root: str, train: bool = True) -> None:
        files = sorted(Path(root).glob(f"{'train' if train else 'test'}-*.npy"))
        self.samples = [(str(file), int(file.stem.split("-")[2])) for file in files]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        file, target = self.samples[index]
        return np.load(file, allow_pickle=False), target


@DATASETS.register
class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([(torch.tensor([float(i), 1.0]), float(i)) for i in range(5)])

    def __len__(self) -> int:
        return 7


@DATASETS.register
class Sentences(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"text": f"number {index % 3}", "label": index % 2}


def image(seed: int, low: int = 0) -> Any:
    return np.random.default_rng(seed).integers(low, 256, (2, 6, 6), dtype=np.uint8)


def planted(root: Path) -> dict[str, Any]:
    for i in range(16):
        np.save(root / f"train-{i:02}-{i % 2}.npy", image(i))
        np.save(root / f"test-{i:02}-{i % 2}.npy", image(100 + i))
    return {
        "train": {"type": "Planted", "args": {"root": str(root)}},
        "transform": {"train": [{"type": "RandomHorizontalFlip"}, "ToFloat", NORMAL], "eval": ["ToFloat", NORMAL]},
        "loader": {"batch_size": 4},
    }


def inspected(tmp_path: Path, data: dict[str, Any], *words: str) -> int:
    config = {
        "name": "planted",
        "data": data,
        "model": "MLP",
        "loss": "CrossEntropyLoss",
        "optimizer": {"type": "SGD", "args": {"lr": 0.1}},
        "trainer": {"epochs": 1, "monitor": "off", "save_dir": str(tmp_path / "saved")},
    }
    file = tmp_path / "planted.yaml"
    file.write_text(yaml.safe_dump(config))
    return exit_code(lambda: main(["-c", str(file), "--out", str(tmp_path / "sheet.png"), *words]))


def test_clean_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    assert inspected(tmp_path, data) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[:8] == [
        "       samples  input        values    after its transforms  target",
        "train       16  2x6x6 uint8  0 to 255  -1 to 1               2 classes",
        "test        16  2x6x6 uint8  0 to 255  -1 to 1               2 classes",
        "",
        "class     train   share  test   share",
        "0 dark        8  50.0 %     8  50.0 %",
        "1 bright      8  50.0 %     8  50.0 %",
        "",
    ]
    assert "no sample is in two sets\nevery sample can be read\n" in text
    assert not (tmp_path / "saved").exists()


def test_mean_and_std_are_ready_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    inspected(tmp_path, data)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  - {type: Normalize")]
    (component,) = yaml.safe_load(line)
    pixels = np.stack([np.load(file) for file in sorted(tmp_path.glob("train-*.npy"))]) / 255
    assert component["args"]["mean"] == pytest.approx(pixels.mean(axis=(0, 2, 3)), rel=1e-3)
    assert component["args"]["std"] == pytest.approx(pixels.std(axis=(0, 2, 3)), rel=1e-3)
    pasted = {"transform": {"train": ["ToFloat", component], "eval": ["ToFloat", component]}}
    assert inspected(tmp_path, data | pasted) == 0


def test_means_of_a_table_far_from_zero_are_ready_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Four digits of a time stamp, and a mean of squares less a squared mean, would normalise to nothing of use."""
    rows = [(1.7e9 + 128 * (i % 8), 1e6 + i % 5, 1e-7 * (i % 3), 0.1, i % 2) for i in range(600)]
    lines = ["stamp,offset,small,constant,label", *(",".join(map(repr, row)) for row in rows)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    table = {"type": "Table", "args": {"path": str(tmp_path / "t.csv"), "target": "label", "classification": True}}
    assert inspected(tmp_path, {"train": table}) == 0
    text = capsys.readouterr().out
    (line,) = [line for line in text.splitlines() if line.startswith("  - {type: Normalize")]
    found = {name: [*map(float, values)] for name, values in yaml.safe_load(line)[0]["args"].items()}
    columns = np.array(rows)[:, :4].astype(np.float32).astype(np.float64)
    assert found["std"] == pytest.approx(columns.std(0), rel=1e-3)
    off = np.abs(np.array(found["mean"]) - columns.mean(0)) / np.maximum(columns.std(0), 1e-5)
    assert off.max() < 2e-3
    assert found["std"].index(0) == 3 and "a channel with std 0" in text


def test_leaks_repetitions_and_blanks_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    np.save(tmp_path / "test-03-1.npy", image(5))
    np.save(tmp_path / "test-04-0.npy", image(7))
    np.save(tmp_path / "train-15-1.npy", image(2))
    np.save(tmp_path / "train-11-1.npy", np.full((2, 6, 6), 9, np.uint8))
    assert inspected(tmp_path, data) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "LEAK: 2 samples of test in train too (train = test: 5 = 3, 7 = 4), 1 of them with another class" in lines
    assert "repeated in train: 1 sample (2 = 15), 1 of them with another class" in lines
    assert "1 sample of train are all of one value: 11" in lines
    assert "no sample is in two sets" not in lines


def test_a_part_that_is_set_aside_is_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    for i in range(8, 16):
        np.save(tmp_path / f"train-{i:02}-{i % 2}.npy", image(i - 8))
    assert inspected(tmp_path, data | {"valid": 8}) == 0
    text = capsys.readouterr().out
    assert "of valid in train too" in text and "valid        8" in text


def test_every_broken_file_is_named_and_none_ends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    for name in ("train-00-0", "train-07-1", "test-15-1"):
        (tmp_path / f"{name}.npy").write_bytes(b"\x93NUMPY cut short")
    np.save(tmp_path / "test-02-0.npy", np.full((3, 6, 6), 1, np.uint8))  # Normalize has two channels
    assert inspected(tmp_path, data) == 5
    text = capsys.readouterr().out
    assert "\n4 broken samples:\n" in text
    for index, name in ((0, "train-00-0"), (7, "train-07-1"), (15, "test-15-1")):
        role = name.partition("-")[0]
        assert f"  Planted ({role}): sample {index}, file {tmp_path / name}.npy: ValueError: " in text
    assert "  Planted (test): sample 2, Normalize: ValueError: Normalize: expected one mean or 3" in text
    assert "0 dark        7" in text


def test_the_sheet_shows_each_class_before_and_after(tmp_path: Path) -> None:
    inspected(tmp_path, planted(tmp_path))
    sheet = Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes()))
    assert sheet.size == (110 + 2 * 102, 26 + 5 * 102)  # two classes; read, evaluation, three passes
    pixels = np.asarray(sheet.convert("L"))
    first, after = pixels[26:122, 110:206], pixels[128:224, 110:206]
    expected = np.kron(image(0)[0], np.ones((16, 16), np.uint8)).astype(int)
    low, high = (int(f([image(0)[0], image(1)[0]])) for f in (np.min, np.max))
    assert np.abs(first - (expected - low) * 255 / (high - low)).max() < 1
    assert np.abs(first.astype(int) - after).max() <= 2  # Normalize changes the scale alone


def test_floats_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = planted(tmp_path)
    data["transform"] = {"train": [], "eval": []}
    for number, value in ((3, np.nan), (6, np.inf)):
        np.save(tmp_path / f"train-{number:02}-{number % 2}.npy", np.full((2, 6, 6), value, np.float32))
    assert inspected(tmp_path, data) == 0
    text = capsys.readouterr().out
    assert "2 samples of train hold NaN or infinity: 3, 6" in text
    assert "2 kinds, most 2x6x6 uint8" in text


def test_text_and_streams_have_no_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"transform": {"train": [], "eval": []}, "test": "off"}
    keys = {"keys": {"input": "text", "target": "label"}}
    assert inspected(tmp_path, {"train": "Sentences", **keys, **plain, "loader": {"batch_size": 2}}) == 0
    text = capsys.readouterr().out
    assert "train        4  str" in text and "repeated in train: 1 sample (0 = 3), 1 of them with another class" in text
    assert "no sheet of samples" in text
    assert inspected(tmp_path, {"train": "Stream", **plain, "loader": {"batch_size": 2}}) == 0
    text = capsys.readouterr().out
    assert "train        5  2 float32" in text and "0 to 4" in text
    assert not (tmp_path / "sheet.png").exists()


@DATASETS.register
class Tokens(Dataset[Any]):
    """Numbers of words, of several lengths, and floats of several lengths."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __len__(self) -> int:
        return 600

    def __getitem__(self, index: int) -> tuple[Any, int]:
        row = torch.arange(1 + index // 100)
        return row if self.kind == "words" else row.float(), index % 2


@pytest.mark.parametrize("kind", ["words", "floats"])
def test_sequences_have_no_mean(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = {"train": {"type": "Tokens", "args": {"kind": kind}}, "transform": {"train": [], "eval": []}, "test": "off"}
    assert inspected(tmp_path, data) == 0
    text = capsys.readouterr().out
    dtype = "int64" if kind == "words" else "float32"
    assert f"train      600  {dtype} of 6 sizes" in text and "Normalize" not in text


def test_data_in_memory_and_the_default_place_of_the_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_garments(tmp_path / "garments", train=60, test=20)
    monkeypatch.chdir(tmp_path)
    train = {"type": "FashionMNIST", "args": {"root": "garments", "download": False}}
    config = {"name": "mine", "data": {"train": train}, "model": "MLP", "loss": "CrossEntropyLoss", "optimizer": "SGD"}
    (tmp_path / "mine.json").write_text(json.dumps(config | {"trainer": {"epochs": 1, "monitor": "off"}}))
    assert main(["-c", "mine.json"]) == 0
    assert "samples before and after the transforms: inspect_mine.png" in capsys.readouterr().out
    assert (tmp_path / "inspect_mine.png").exists() and not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("code", "words", "text"),
    [
        (2, ["data.train.typ=Planted"], "did you mean 'type'"),
        (5, ["data.train.args.root=nowhere"], "no samples"),
        (6, ["--out", "nowhere/sheet.png"], "cannot write nowhere/sheet.png"),
    ],
)
def test_exit_codes(code: int, words: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inspected(tmp_path, planted(tmp_path), *words) == code
    assert text in capsys.readouterr().err
