"""A long run takes no more memory and no more handles than a short one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_run import small_config

ROOT = Path(__file__).resolve().parents[2]
EPOCHS, WARM = 200, 50
DRIVER = """
import json, os, sys
from base import CALLBACKS, Callback, cli


@CALLBACKS.register
class Measure(Callback):
    "Resident memory in bytes and open handles, at the end of each epoch."

    def on_epoch_end(self, trainer, row):
        trainer.store.join()
        resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        with open(sys.argv[1], "a") as file:
            print(json.dumps([resident, len(os.listdir("/proc/self/fd"))]), file=file)


sys.exit(cli.train(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_200_epochs_grow_by_less_than_1_mb_and_no_handle(garments: Path, tmp_path: Path) -> None:
    config = small_config(
        tmp_path,
        garments,
        data__transform__train=[{"type": "ToFloat"}, {"type": "RandomHorizontalFlip"}],
        optimizer={"type": "AdamW", "args": {"lr": 0.001}},
        trainer__epochs=EPOCHS,
        trainer__tensorboard=True,
        trainer__ema={"decay": 0.9},
        callbacks=["Measure"],
    )
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "measured"), "-c", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = [json.loads(line) for line in (tmp_path / "measured").read_text().splitlines()]
    assert len(measured) == EPOCHS
    (early, handles), (late, handles_late) = measured[WARM - 1], measured[-1]
    assert late - early < 1_000_000, f"resident memory from epoch {WARM} to {EPOCHS}: {early} to {late} bytes"
    assert handles_late <= handles
