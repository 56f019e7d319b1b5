"""The page of compared runs: whole in one file, and safe whatever the runs say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from base.errors import WriteError
from logger.compare.html_report import PARTS, page, write_report
from logger.compare.tables import read_runs
from tests.logger.planted_runs import plant

A, B = "20261120-100000", "20261120-110000"
EVIL = "</script><script>document.title='pwned'</script><img src=x onerror=alert(1)><!--\u2028"


def content(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    document: dict[str, Any] = json.loads(found[1])
    return document


def evil_runs(folder: Path) -> None:
    """Whatever can hold a text holds one that would be markup."""
    for stamp in (A, B):
        path = plant(
            folder,
            stamp,
            name="<b>x",
            end=EVIL,
            config={"optimizer__args__lr": EVIL + stamp, "project": {EVIL: stamp}},
            environment={EVIL: EVIL + stamp, "git": {"commit": EVIL, "diff": EVIL, "untracked": [EVIL]}},
        )
        (path / "notes.jsonl").write_text(json.dumps({"time": EVIL, "note": EVIL, "tags": ["a"]}) + "\n")
        with (path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"step": 9, EVIL: 1.0, "val_" + EVIL: 2.0}) + "\n")
        test = path / "test" / EVIL.replace("/", "")
        test.mkdir(parents=True)
        (test / "metrics.json").write_text(json.dumps({"classes": [EVIL, "b"], "confusion": [[1, 2], [3, 4]]}))


def test_the_page_holds_table_curves_confusion_and_what_differs(tmp_path: Path) -> None:
    one = plant(tmp_path, A, [0.5, None, 0.6], environment={"threads": 1, "git": {"commit": "a" * 40}})
    plant(tmp_path, B, [0.7], end=None, config={"optimizer__args__lr": 0.2}, environment={"threads": 2})
    (one / "test" / "test").mkdir(parents=True)
    (one / "test" / "test" / "metrics.json").write_text('{"classes": ["a", "b"], "confusion": [[5, 0], [1, 4]]}')
    write_report(read_runs([tmp_path]), tmp_path / "report.html", "my runs")
    found = content((tmp_path / "report.html").read_text())
    assert found["title"] == "my runs"
    table = {column["heading"]: column for column in found["table"]}
    assert table["lr"]["cells"] == ["0.1", "0.2"] and table["lr"]["about"] == "optimizer.args.lr"
    assert table["val_accuracy"]["cells"] == ["0.6000 @3", "0.7000 @1"]
    assert table["val_accuracy"]["order"] == [0.6, 0.7] and table["val_accuracy"]["better"] == "higher"
    assert table["time"]["order"] == [90.0, 30.0]
    first, second = found["runs"]
    assert first["curves"]["val_accuracy"] == [[0, 0.5], [1, None], [2, 0.6]]
    assert first["x"] == {"epoch": [1, 2, 3], "step": [10, 20, 30], "minutes": [0.5, 1.0, 1.5]}
    assert found["charts"] == {"accuracy": ["val_accuracy"], "loss": ["val_loss", "loss"]}
    assert first["confusion"] == {"test": {"classes": ["a", "b"], "counts": [[5, 0], [1, 4]]}}
    assert second["confusion"] == {}
    assert found["facts"] == ["optimizer.args.lr", "commit", "environment: threads"]
    assert (first["facts"]["commit"], second["facts"]["environment: threads"]) == ("aaaaaaaaaa", "2")


def test_nothing_is_fetched_and_the_browser_may_run_nothing_but_our_script(tmp_path: Path) -> None:
    plant(tmp_path, A)
    text = page(read_runs([tmp_path]), "runs")
    addresses = re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", text)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}  # a name, which no browser looks up
    assert not re.search(r"\b(?:src|href|@import|url)\b *[=(]", text)
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in (style, script)]
    assert policy
    assert policy[1] == f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'"


def test_the_script_makes_no_markup_of_texts() -> None:
    script = (PARTS / "report.js").read_text()
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(|DOMParser", script)


def test_what_a_run_says_stays_text(tmp_path: Path) -> None:
    evil_runs(tmp_path)
    text = page(read_runs([tmp_path]), EVIL)
    assert text.count("<script") == text.count("</script") == 2
    assert "<img" not in text and "<!--" not in text and "<b>" not in text
    found = content(text)
    assert found["title"] == EVIL
    assert found["runs"][0]["facts"]["commit"] == "" and f"environment: {EVIL}" in found["facts"]
    assert any(column["heading"] == "note" and "<script>" in column["cells"][0] for column in found["table"])


def test_runs_without_anything_have_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "small" / A).mkdir(parents=True)
    found = content(page(read_runs([tmp_path]), "runs"))
    assert found["charts"] == {} and found["problems"] == [f"small/{A}: config.yaml: missing"]
    assert content(page(read_runs([tmp_path / "missing"]), "runs"))["runs"] == []


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    plant(tmp_path, A)
    with pytest.raises(WriteError, match=r"^cannot write .*missing/report.html: No such file or directory$"):
        write_report(read_runs([tmp_path]), tmp_path / "missing" / "report.html", "runs")


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node to parse JavaScript")
def test_the_script_is_javascript() -> None:
    assert subprocess.run(["node", "--check", PARTS / "report.js"], check=False).returncode == 0
