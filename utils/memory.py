"""How much memory this process holds."""

from __future__ import annotations

import os
import sys
from pathlib import Path

GIB = 1 << 30


def memory() -> dict[str, float]:
    """In GiB: `ram`, resident now, its workers left out, where the system tells; `gpu`, the most that tensors have held
    on the current CUDA device, if one is in use. Does not wait for the device."""
    held = {}
    if Path("/proc/self/statm").exists():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        held["ram"] = pages * os.sysconf("SC_PAGE_SIZE") / GIB
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        held["gpu"] = torch.cuda.max_memory_allocated() / GIB
    return held
