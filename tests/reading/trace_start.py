"""Prints as JSON what runs from `train.py` to the first optimizer step.

    python -m tests.reading.trace_start -c CONFIG [key.path=value ...]

`files` lists each imported file of the project with the number of its functions that ran. A switch is a call of a
function, or the resumption of a generator, in another file than the call before it.
"""

from __future__ import annotations

import collections
import json
import runpy
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = str(Path(__file__).resolve().parents[2]) + "/"
PACKAGES = ("base/", "data_loader/", "logger/", "model/", "trainer/", "utils/", "train.py")
IS_FUNCTION = 0x1  # CO_OPTIMIZED: a function's body, not a module's or a class's


class StartTrace:
    """Counts until the first optimizer step."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str, int]] = set()
        self.switches: collections.Counter[str] = collections.Counter()
        """By the file that was entered."""
        self.imported: list[str] = []
        self._last = ""
        self._over = False

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        name = code.co_filename.removeprefix(ROOT)
        if self._over or not name.startswith(PACKAGES):
            return
        if code.co_flags & IS_FUNCTION and not code.co_name.startswith("<"):
            self.functions.add((name, code.co_qualname, code.co_firstlineno))
        if name != self._last:
            self.switches[name] += 1
            self._last = name

    def end(self, *_: Any) -> None:
        if not self._over:
            files = {getattr(module, "__file__", None) or "" for module in list(sys.modules.values())}
            self.imported = sorted(f.removeprefix(ROOT) for f in files if f.removeprefix(ROOT).startswith(PACKAGES))
        self._over = True

    def report(self) -> dict[str, Any]:
        run = collections.Counter(name for name, *_ in self.functions)
        config = sum(count for name, count in self.switches.items() if name.startswith("base/config/"))
        return {
            "files": {name: run[name] for name in self.imported},
            "functions": len(self.functions),
            "switches": self.switches.total(),
            "switches_outside_config": self.switches.total() - config,
        }


def main() -> None:
    trace = StartTrace()
    threading.settrace(trace)
    from torch.optim.optimizer import register_optimizer_step_pre_hook

    register_optimizer_step_pre_hook(trace.end)
    sys.argv[0] = "train.py"
    sys.settrace(trace)
    try:
        runpy.run_path("train.py", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.settrace(None)
    print(json.dumps(trace.report()))


if __name__ == "__main__":
    main()
