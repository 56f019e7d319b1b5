"""metrics.jsonl as a program reads it back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import WriteError
from logger.jsonl import MetricsFile, read_lines, read_rows


def write(path: Path, *rows: dict[str, object], length: int = 0, end: str = "") -> int:
    """Length of the file before the end row."""
    file = MetricsFile(path, {"data": "real"}, length)
    for row in rows:
        file.row(row)
    saved = file.length
    if end:
        file.end(end)
    file.sync()
    file.close()
    return saved


def test_header_rows_and_end_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {"epoch": 1, "step": 10, "loss": 0.1 + 0.2}, end="finished")
    assert path.read_text().splitlines() == [
        '{"format": 1, "data": "real"}',
        '{"epoch": 1, "step": 10, "loss": 0.30000000000000004}',
        '{"end": "finished"}',
    ]
    assert read_rows(path) == [{"epoch": 1, "step": 10, "loss": 0.1 + 0.2}]


def test_a_row_can_be_read_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    file = MetricsFile(path, {})
    file.row({"step": 1})
    assert read_rows(path) == [{"step": 1}]
    assert file.length == path.stat().st_size
    file.close()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_keeps_every_bit(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    write(path, {"step": 1, "loss": value})
    assert read_rows(path)[0]["loss"].hex() == value.hex()


def test_not_finite_is_null_and_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {"step": 1, "loss": float("nan"), "val_loss": float("-inf"), "accuracy": 0.5})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    row = json.loads(path.read_text().splitlines()[1], parse_constant=refuse)
    assert row == {"step": 1, "loss": None, "val_loss": None, "accuracy": 0.5, "nonfinite": ["loss", "val_loss"]}


def test_a_resume_writes_what_an_unbroken_run_would_have_written(tmp_path: Path) -> None:
    unbroken, broken = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    rows: list[dict[str, object]] = [{"step": step, "loss": 1 / step} for step in (1, 2, 3)]
    write(unbroken, *rows, end="finished")
    saved = write(broken, rows[0])
    write(broken, rows[1], length=saved, end="signal")
    write(broken, rows[1], rows[2], length=saved, end="finished")
    assert broken.read_bytes() == unbroken.read_bytes()


def test_a_resume_without_a_saved_length_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, {"step": 1}, end="error")
    write(path, {"step": 2})
    assert list(read_lines(path)) == [{"format": 1, "data": "real"}, {"step": 2}]


def test_a_file_that_lost_rows_keeps_the_others_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "metrics.jsonl"
    saved = write(path, {"step": 1})
    write(path, {"step": 2}, length=saved + 5)
    assert caplog.messages == [f"{path} has lost 5 bytes since it was saved: the rows in them are missing"]
    assert read_rows(path) == [{"step": 1}, {"step": 2}]


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_garbage_between_and_a_torn_end_cost_no_good_line(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, torn: bytes
) -> None:
    path = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n' + garbage + b'\n{"step": 2}\n{"step": 3, "lo' + torn.replace(b"}", b""))
    steps = [row["step"] for row in read_rows(path)]
    assert steps[0] == 1
    assert 2 in steps
    assert 3 not in steps


def test_deep_garbage_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"[" * 100_000 + b'\n{"step": 1}\n')
    assert read_rows(path) == [{"step": 1}]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_leaves_no_file_open() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(WriteError, match=r"^cannot write /dev/full: No space left on device$") as error:
        MetricsFile(Path("/dev/full"), {})
    assert set(os.listdir("/proc/self/fd")) == before, error  # which holds the frames, and the file in them


def test_reading_needs_no_torch() -> None:
    code = "import sys, logger.jsonl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
