"""`--plugin`: what it lends a run is kept in it, asked for again, and part of every command that is printed."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from base import cli
from base.config import Config
from tests.small_run import small_config

LENT = """
from base import CALLBACKS, Callback

@CALLBACKS.register
class Lent(Callback):
    def __init__(self, stop: bool = False) -> None:
        self.stop = stop

    def on_step_end(self, trainer, terms) -> None:
        if self.stop and trainer.progress.step == 2:
            trainer.stop("test")
"""
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def lent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that registers the callback `Lent`."""
    (tmp_path / "lent_module.py").write_text(LENT)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "lent_module"
    sys.modules.pop("lent_module", None)


@pytest.fixture
def config(garments: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "my project"
    return small_config(folder, garments, callbacks=["Lent"], trainer__epochs=1, trainer__verbosity=2)


def the_run(config: Path) -> Path:
    (run,) = (config.parent / "saved" / "small").iterdir()
    return run


def printed(out: str) -> dict[str, list[str]]:
    """The words that a POSIX shell makes of each command."""
    found = re.findall(r"^  (\w+) +((?:python|tensorboard) .*)$", out, re.MULTILINE)
    return {label: shlex.split(words) for label, words in found}


@pytest.mark.skipif(sys.platform == "win32", reason="the shell's rules are POSIX's")
def test_the_printed_commands_work_with_a_plugin_and_a_path_with_spaces(
    lent: str, config: Path, capsys: Capture
) -> None:
    assert cli.train(["-c", str(config), "--plugin", lent]) == 0
    commands, run = printed(capsys.readouterr().out), str(the_run(config))
    assert commands == {
        "test": ["python", "test.py", "-r", run, "--plugin", lent],
        "resume": ["python", "train.py", "-r", run, "--plugin", lent],
        "compare": ["python", "tools/compare.py", str(config.parent / "saved")],
        "watch": ["tensorboard", "--logdir", str(config.parent / "saved")],
    }
    assert cli.train(commands["resume"][2:]) == 0
    assert cli.test(commands["test"][2:]) == 0


def test_a_run_keeps_its_plugin_and_says_what_to_add_without_it(lent: str, config: Path, capsys: Capture) -> None:
    """The name alone is kept: a run that came from elsewhere must not choose which code is imported."""
    assert cli.train(["-c", str(config), "--plugin", lent]) == 0
    run = the_run(config)
    assert Config.read(run / "config.yaml", plugins=[lent], of_run=True).settings.plugins == (lent,)
    capsys.readouterr()
    for use in (cli.train, cli.test):
        assert use(["-r", str(run)]) == 2
        fault, count = capsys.readouterr().err.splitlines()
        assert "plugins.0: 'lent_module' is not allowed here; add --plugin lent_module to the command" in fault
        assert count.startswith("1 fault in ")


def test_a_run_is_resumed_with_its_plugin_by_itself(lent: str, config: Path) -> None:
    stopping = 'callbacks=[{type: Lent, args: {stop: "true"}}]'.replace('"', "")
    assert cli.train(["-c", str(config), "--plugin", lent, stopping]) == 0
    run = the_run(config)
    assert cli.train(["-c", str(config), "--plugin", lent, stopping, "--auto-resume"]) == 0
    assert the_run(config) == run  # the only one


def test_a_plugin_may_be_added_on_a_resume(lent: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path / "plain", garments, trainer__epochs=1)
    assert cli.train(["-c", str(config)]) == 0
    argv = ["-r", str(the_run(config)), "--plugin", lent, "callbacks=[Lent]", "trainer.epochs=2"]
    assert cli.train(argv) == 0
    kept = Config.read(the_run(config) / "config.yaml", plugins=[lent], of_run=True).settings
    assert kept.plugins == (lent,) and [callback.type for callback in kept.callbacks] == ["Lent"]


def test_explaining_a_config_with_a_plugin(lent: str, config: Path, capsys: Capture) -> None:
    assert cli.train(["-c", str(config), "--plugin", lent, "--explain", "plugins"]) == 0
    assert "command line: --plugin lent_module" in capsys.readouterr().out


def test_a_plugin_that_the_project_allows_is_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    from base import discovery

    monkeypatch.setattr(discovery, "allowed_plugins", lambda: {"ours": "ours"})
    assert discovery.flags(["ours", "other"]) == ["--plugin", "other"]
