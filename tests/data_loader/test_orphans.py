"""Workers do not outlive the process that trains."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import multiprocessing, os, signal
from tests.data_loader.toy_sets import make
data = make("ToyFolder", loader={"num_workers": 2, "batch_size": 1})
batches = data.train.batches()
next(batches)
print(*(worker.pid for worker in multiprocessing.active_children()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def runs(pid: int) -> bool:
    """Whether the process is there and not a dead one that nobody has asked about."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_workers_die_with_a_parent_that_is_killed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2, done.stderr
    for _ in range(20):  # the kernel kills them at once, on a busy machine a moment later; left alone they take 5 s
        if not any(map(runs, workers)):
            break
        time.sleep(0.1)
    assert not [pid for pid in workers if runs(pid)]
