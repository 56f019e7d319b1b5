"""Projects of tests/template_projects under kill -9: each is killed N times at random instants, resumed to its end, and
compared, to the bit, with the run that never was.

python -m tests.campaigns.template_projects 5
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.copied_project import copied_project, run
from tests.small_run import assert_same, last_state, rows

NAMES = ("blobs", "weighted", "sentences", "subjects", "parts", "folds")
LONG = ("trainer.epochs=12", "trainer.early_stop=null")


def only_run(project: Path, name: str) -> Any:
    (path,) = (project / "saved" / name).iterdir()
    return SimpleNamespace(path=path)


def trial(name: str, kills: int, numbers: random.Random) -> str:
    """`equal`, or what differs."""
    with tempfile.TemporaryDirectory() as folder:
        project = copied_project(name, Path(folder))
        began = time.monotonic()
        run(project, "train.py", "-c", "config.json", "name=whole", *LONG)
        seconds = time.monotonic() - began
        command = [sys.executable, "train.py", "-c", "config.json", "name=part", *LONG]
        done = 0
        for _ in range(kills):
            process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(numbers.uniform(0.3, 1.0) * seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                done += 1
            if (project / "saved" / "part").is_dir():
                command = [sys.executable, "train.py", "-r", str(only_run(project, "part").path)]
        run(project, *command[1:])
        whole, part = only_run(project, "whole"), only_run(project, "part")
        try:
            assert [r for r in rows(whole) if "epoch" in r] == [r for r in rows(part) if "epoch" in r], "rows"
            assert_same(last_state(whole), last_state(part))
        except AssertionError as error:
            return f"{done} kills: differs: {str(error)[:80]}"
        return f"{done} kills: equal"


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    results = {name: trial(name, kills, random.Random(name)) for name in NAMES}
    print("\n".join(f"{name:<10} {result}" for name, result in results.items()))
    return int(any("differs" in result for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
