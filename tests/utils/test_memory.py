from __future__ import annotations

import sys

import numpy as np
import pytest

from utils.device import memory


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_what_is_held_is_counted() -> None:
    before = memory()["ram"]
    block = np.ones(64 << 20, dtype=np.uint8)
    assert memory()["ram"] - before == pytest.approx(block.nbytes / 2**30, rel=0.1)
    assert "gpu" not in memory()
