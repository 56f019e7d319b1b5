"""The two scripts as a user calls them: what they print and what they exit with."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from base import CALLBACKS, Callback, cli
from base.checkpoint.store import CheckpointStore
from base.loop.stopping import NAMES, StopRequest
from tests.small_run import small_config

ROOT = Path(__file__).resolve().parents[2]
Capture = pytest.CaptureFixture[str]


def script(*argv: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, argv)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_train_then_test_then_resume_by_the_commands_that_training_prints(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, trainer__verbosity=2, trainer__epochs=2)
    trained = script("train.py", "-c", config)
    assert trained.returncode == 0, trained.stderr
    assert re.search(r"^device     cpu, 1 thread$", trained.stdout, re.MULTILINE)
    assert re.search(r"^ +loss +accuracy\nepoch .*\n  1/2 .*\n  2/2 ", trained.stdout, re.MULTILINE)
    assert re.search(r"^  best     epoch [12], val_loss \d\.\d+$", trained.stdout, re.MULTILINE)
    commands = dict(re.findall(r"^  (test|resume) +python (.*)$", trained.stdout, re.MULTILINE))
    tested = script(*commands["test"].split())
    assert tested.returncode == 0 and "accuracy" in tested.stdout, tested.stderr
    resumed = script(*commands["resume"].split())
    assert resumed.returncode == 0 and "finished" in resumed.stdout, resumed.stderr


def test_only_what_can_be_tested_is_proposed_for_a_test(garments: Path, tmp_path: Path, capsys: Capture) -> None:
    config = small_config(tmp_path, garments, trainer__verbosity=2, trainer__epochs=1, data__test=None)
    assert cli.train(["-c", str(config)]) == 0
    out = capsys.readouterr().out
    assert "python train.py -r" in out and "python test.py" not in out


def test_an_interruption_before_training_is_no_traceback(capsys: Capture) -> None:
    def interrupted() -> int:
        raise KeyboardInterrupt

    assert cli.exit_code(interrupted) == 130
    assert capsys.readouterr().err == "interrupted before training began: nothing was changed\n"


def test_overrides_stand_anywhere_among_the_flags(garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments)
    argv = ["trainer.epochs=1", "-c", str(config), "--lr", "0.5", "seed=7", "--check"]
    assert cli.train(argv) == 0
    assert not (tmp_path / "saved").exists()


@pytest.mark.parametrize(
    ("code", "argv", "text"),
    [
        (2, ["-c", "{config}", "trainer.epohcs=3"], "did you mean 'epochs'"),
        (2, ["-c", "nowhere.yaml"], "nowhere.yaml"),
        (2, ["-c", "{config}", "optimizer.args.lr=-1"], "optimizer"),
        (2, ["-c", "{config}", "device=cuda:7"], "device"),
        (3, ["-r", "{folder}/saved/small/none"], "no such run"),
        (5, ["-c", "{config}", "data.train.args.root={folder}/empty"], "train-images-idx3-ubyte"),
    ],
)
def test_each_kind_of_error_has_its_exit_code_and_no_traceback(
    code: int, argv: list[str], text: str, garments: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(tmp_path, garments)
    assert cli.train([a.format(config=config, folder=tmp_path) for a in argv]) == code
    error = capsys.readouterr().err
    assert text in error and "Traceback" not in error
    assert not (tmp_path / "saved").exists()


def test_help_and_an_unreadable_config_do_not_wait_for_torch(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("a: [1\n")
    for argv in (["--help"], ["-c", str(tmp_path / "bad.yaml")]):
        code = f"import sys; from base.cli import train\ntry: train({argv!r})\nexcept SystemExit: pass\n"
        out = script("-c", code + "print('torch' in sys.modules)")
        assert out.stdout.splitlines()[-1] == "False", out.stderr


LONG = {"trainer__epochs": 100_000, "trainer__verbosity": 2, "trainer__save_period": 100_000}
"""A run that somebody must stop."""


@contextmanager
def signals_ignored(*ignored: str) -> Iterator[None]:
    """This process and those it starts ignore these signals and no others."""
    numbers = {name: getattr(signal, name) for name in NAMES if hasattr(signal, name)}
    before = {
        number: signal.signal(number, signal.SIG_IGN if name in ignored else signal.SIG_DFL)
        for name, number in numbers.items()
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@CALLBACKS.register
class AtStep(Callback):
    """Calls `act`, which a test sets, with the number of each step."""

    act: ClassVar[Callable[[int], None]]

    def on_step_end(self, trainer: Any, losses: Any) -> None:
        AtStep.act(trainer.progress.step)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_sigterm_ends_a_process_with_its_code(garments: Path, tmp_path: Path) -> None:
    command = [sys.executable, "train.py", "-c", str(small_config(tmp_path, garments, **LONG))]
    with signals_ignored():
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        while not re.match(r" *1/\d", process.stdout.readline()):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out = process.stdout.read()
        assert process.wait(60) == 143
    assert re.search(r"^  resume +python train.py -r", out, re.MULTILINE)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("name", "code"),
    [("SIGTERM", 143), ("SIGINT", 130), ("SIGUSR1", 138), ("SIGHUP", 129), ("SIGQUIT", 131), ("SIGXCPU", 152)],
)
def test_a_signal_saves_says_how_to_resume_and_exits_with_its_code(
    name: str, code: int, garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def act(step: int) -> None:
        if step == 6:
            signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr(AtStep, "act", act, raising=False)
    with signals_ignored():
        assert cli.train(["-c", str(small_config(tmp_path, garments, **LONG, callbacks=["AtStep"]))]) == code
    assert re.search(r"^  resume +python train.py -r", capsys.readouterr().out, re.MULTILINE)
    (run,) = (tmp_path / "saved" / "small").iterdir()
    assert CheckpointStore(run / "checkpoints").load("last").state["progress"]["step"] == 6
    assert '{"end": "signal"}' in (run / "metrics.jsonl").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_signal_that_is_ignored_stays_ignored(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `nohup` has it."""
    steps = []

    def act(step: int) -> None:
        steps.append(step)
        if step == 2:
            signal.raise_signal(signal.SIGHUP)
        elif step == 9:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(AtStep, "act", act, raising=False)
    with signals_ignored("SIGHUP"):
        assert cli.train(["-c", str(small_config(tmp_path, garments, **LONG, callbacks=["AtStep"]))]) == 143
    assert steps[-1] == 9


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_a_terminal_that_closes_ends_the_run_saved(garments: Path, tmp_path: Path) -> None:
    """The run gets SIGHUP, and nothing that it prints from then on can be written."""
    config = small_config(tmp_path, garments, **LONG)
    import pty

    terminal, end = pty.openpty()
    take_it = "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); from base.cli import train; "
    command = [sys.executable, "-c", f"{take_it}sys.exit(train(['-c', {str(config)!r}]))"]
    with signals_ignored():
        process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, stdin=end, stdout=end, stderr=end)
    os.close(end)
    seen = b""
    while b" 3/100000" not in seen:
        seen += os.read(terminal, 1 << 16)
    os.close(terminal)
    assert process.wait(60) == 129
    (run,) = (tmp_path / "saved" / "small").iterdir()
    assert '{"end": "signal"}' in (run / "metrics.jsonl").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("name", ["SIGHUP", "SIGXCPU"])
def test_what_the_system_sends_twice_is_no_second_request(name: str) -> None:
    number = getattr(signal, name)
    before = signal.getsignal(number)
    if before == signal.SIG_IGN:
        pytest.skip("it is ignored here")
    request = StopRequest()
    with request.listening():
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # else this process would be gone
        assert request.signal == number
    assert signal.getsignal(number) == before


def test_a_stop_file_ends_the_run_as_sigterm_does(
    garments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "saved" / "small"
    monkeypatch.setattr(AtStep, "act", lambda step: next(runs.iterdir()).joinpath("STOP").touch(), raising=False)
    monkeypatch.setattr("base.loop.stopping.SECONDS_BETWEEN_LOOKS", 0.0)
    assert cli.train(["-c", str(small_config(tmp_path, garments, **LONG, callbacks=["AtStep"]))]) == 143
    assert not list(runs.glob("*/STOP"))


def test_an_error_in_the_users_code_shows_the_users_lines_only(tmp_path: Path, garments: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".git", ".venv", "saved", "tests", "docs", "data"))
    (project / "model" / "mine.py").write_text(
        "from torch import nn\nfrom base import BaseModel\n\n\nclass Mine(BaseModel):\n"
        "    def __init__(self):\n        super().__init__()\n        self.layer = nn.Linear(784, 10)\n\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1)) + self.missing\n"
    )
    config = small_config(tmp_path, garments, model="Mine")
    out = script("train.py", "-c", config, cwd=project)
    assert out.returncode == 1
    assert 'model/mine.py", line 11, in forward' in out.stderr and "AttributeError" in out.stderr
    assert "base_trainer.py" not in out.stderr
