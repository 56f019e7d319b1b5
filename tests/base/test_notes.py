"""Notes and tags: kept in the run, added to at any time, without a say in what the run is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from base import ConfigError, fit
from base.runs.run_dir import Note, read_notes, tags_of
from tests.small_run import small_config

ROOT = Path(__file__).resolve().parents[2]


def said(run: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(note.text, note.tags) for note in read_notes(run)]


def test_a_note_is_kept_in_the_run_and_does_not_change_which_run_auto_resume_takes(
    garments: Path, tmp_path: Path
) -> None:
    config = small_config(tmp_path, garments, trainer__epochs=1)
    first = fit(config, auto=True, note="why", tags=["a", "b"])
    again = fit(config, auto=True, note="why", tags=["b"])
    other = fit(config, auto=True, note="another word", tags=["c"])
    assert first.path == again.path == other.path
    assert said(first.path) == [("why", ("a", "b")), ("another word", ("c",))]
    assert tags_of(read_notes(first.path)) == ["a", "b", "c"]


def test_a_run_without_a_word_has_no_notes(garments: Path, tmp_path: Path) -> None:
    run = fit(small_config(tmp_path, garments, trainer__epochs=1), note="  ")
    assert not (run.path / "notes.jsonl").exists()


def test_a_wrong_tag_is_refused_before_anything_is_made(garments: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(small_config(tmp_path, garments), tags=["fine", "not fine", "-x"])
    expected = "expected letters, digits, '.', '_' and '-', a letter or digit first"
    assert str(caught.value).splitlines()[:2] == [
        f"command line: --tag: not a tag; found 'not fine'; {expected}",
        f"command line: --tag: not a tag; found '-x'; {expected}",
    ]
    assert not (tmp_path / "saved").exists()


def test_the_command_adds_to_a_run_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: small\n")
    (tmp_path / "notes.jsonl").write_text('{"time": "2026-11-20 16:42:03", "note": "first", "tags": []}')
    command = [sys.executable, "tools/note.py", str(tmp_path), "the größte", "--tag", "baseline"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert said(tmp_path) == [("first", ()), ("the größte", ("baseline",))]
    first, second = done.stdout.splitlines()
    assert first == "2026-11-20 16:42:03 first" and second.endswith(" the größte #baseline")
    assert set(json.loads((tmp_path / "notes.jsonl").read_text().splitlines()[1])) == {"time", "note", "tags"}


def test_the_command_follows_no_link_out_of_a_run(tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    (run / "config.yaml").write_text("name: small\n")
    elsewhere.write_text("")
    (run / "notes.jsonl").symlink_to(elsewhere)
    command = [sys.executable, "tools/note.py", str(run), "why"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 3 and "is a link" in done.stderr
    assert elsewhere.read_text() == ""


def test_lines_that_are_no_notes_are_passed_over(tmp_path: Path) -> None:
    lines = ["", "[1]", "{", '{"note": "x"}', '{"note": "y", "tags": ["no tag"], "time": ""}', "[" * 100_000]
    (tmp_path / "notes.jsonl").write_text("\n".join([*lines, '{"note": "z", "tags": [], "time": ""}']))
    assert said(tmp_path) == [("z", ())]


def test_an_empty_note_is_nothing(tmp_path: Path) -> None:
    Note().add_to(tmp_path)
    assert list(tmp_path.iterdir()) == []
