"""A run is trained by one process."""

from __future__ import annotations

import os

from base.errors import ConfigError, Fault, Origin


def refuse_several_processes() -> None:
    """ConfigError where torchrun started more than one process: each would train, or test, the whole run."""
    count = os.environ.get("WORLD_SIZE", "")
    if count.isdecimal() and int(count) > 1:
        source, what = "the environment", "several processes would each do the whole run"
        hint = "start one, without torchrun: python train.py -c CONFIG"
        raise ConfigError([Fault(Origin(source), "WORLD_SIZE", what, count, "1", hint)], source)
