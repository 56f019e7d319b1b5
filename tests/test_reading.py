"""How much a reader meets from `train.py` to the first optimizer step: ceilings that may only fall."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPINE = ("train.py", "base/*.py", "base/loop/*.py")
SPINE_LINES = 3750
CEILINGS = {"files": 84, "cold files": 6, "functions": 680, "switches": 1570, "switches_outside_config": 1030}
"""About a tenth above what was reached. Lower one when the code allows it; never raise one to make room."""


@pytest.fixture(scope="module")
def reading(garments: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    config = ROOT / "tests" / "reading" / "fashion_mnist.yaml"
    folder = tmp_path_factory.mktemp("reading")
    overrides = [f"data.train.args.root={garments}", f"trainer.save_dir={folder}", "trainer.epochs=1"]
    command = [sys.executable, "-m", "tests.reading.trace_start", "-c", str(config), "trainer.verbosity=0", *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    report["cold files"] = [name for name, functions in report["files"].items() if not functions]
    return report


@pytest.mark.parametrize("name", CEILINGS)
def test_the_way_to_the_first_step_stays_short(reading: dict[str, Any], name: str) -> None:
    found = reading[name] if isinstance(reading[name], int) else len(reading[name])
    assert found <= CEILINGS[name], f"{name}: {reading[name]}"


def test_train_py_names_the_steps_of_fit_in_their_order() -> None:
    steps = re.findall(r"^ {4}\w[\w ]+? {2,}(\S+) +(\S+\.py) ", (ROOT / "train.py").read_text(encoding="utf-8"), re.M)
    assert len(steps) == 10
    story = (ROOT / "base" / "run.py").read_text(encoding="utf-8")
    body = story[story.index("    with ExitStack() as stack:") : story.index("def check(")]
    places = [re.search(rf"\b{re.escape(call)}\(", body) for call, _ in steps]
    starts = [place.start() for place in places if place]
    assert len(starts) == len(steps) and starts == sorted(starts)
    assert all((ROOT / file).is_file() for _, file in steps)


def test_the_spine_is_read_in_an_hour() -> None:
    files = sorted(path for pattern in SPINE for path in ROOT.glob(pattern))
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= SPINE_LINES


def test_the_tour_names_every_file_of_the_spine_once() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    tour = text[text.index("## A reading tour") : text.index("## Packages")]
    named = [Path(name).name for name in re.findall(r"`([\w/]+\.py)`", tour) if "tests/" not in name]
    spine = {path.name for pattern in SPINE for path in ROOT.glob(pattern)} - {"__init__.py"}
    assert len(named) == len(set(named)) and set(named) == spine | {"supervised.py"}
