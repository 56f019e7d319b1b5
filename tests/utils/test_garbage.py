"""The search for cycles of garbage rests while a command starts, and works again from where training begins."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from base import CALLBACKS, Callback
from base.cli import train
from tests.small_run import small_config, write_garments
from utils.process import gc_resume

SEEN: list[tuple[bool, bool]] = []


@CALLBACKS.register
class LookAtGarbage(Callback):
    """Is the search on, and does it leave something out?"""

    def __init__(self) -> None:
        SEEN.append((gc.isenabled(), gc.get_freeze_count() > 0))

    def on_fit_start(self, trainer: Any) -> None:
        SEEN.append((gc.isenabled(), gc.get_freeze_count() > 0))


@pytest.fixture(autouse=True)
def nothing_left_out() -> None:
    gc.unfreeze()  # Python 3.12 leaves out some objects of its own from its start on


def test_off_while_the_command_starts_and_on_while_it_trains(tmp_path: Path) -> None:
    write_garments(tmp_path / "data")
    config = small_config(tmp_path, tmp_path / "data", trainer__epochs=1, callbacks=[{"type": "LookAtGarbage"}])
    SEEN.clear()
    assert train(["-c", str(config)]) == 0
    assert SEEN == [(False, False), (True, True)]
    assert gc.isenabled() and gc.get_freeze_count() == 0


def test_a_command_that_fails_leaves_it_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["-c", "nowhere.yaml"]) == 2
    assert gc.isenabled()


def test_in_a_process_of_somebody_elses_nothing_is_left_out() -> None:
    gc_resume()
    assert gc.get_freeze_count() == 0
