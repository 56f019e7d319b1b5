"""Flags that do not exist: one line each, with the flag that was meant."""

from __future__ import annotations

import pytest

from base import cli

UNKNOWN = {
    "--batch_size 16": "--batch_size: no such flag; write --batch-size",
    "--epochs 3 --learning-rate=0.1": "--learning-rate: no such flag; write --lr=0.1",
    "-lr 0.1": "-lr: no such flag; write --lr",
    "-config x.yaml": "-config: no such flag; write --config",
    "--epoch 3": "--epoch: no such flag; write --epochs",
    "--trainer.epochs=3": "--trainer.epochs: no such flag; write trainer.epochs=3",
    "--auto_resume": "--auto_resume: no such flag; write --auto-resume",
    "--chek": "--chek: no such flag; did you mean '--check'?",
    "--xyz": "--xyz: no such flag; keys are written key.path=value; --help lists the flags",
}


@pytest.mark.parametrize("given", UNKNOWN)
def test_a_flag_that_does_not_exist(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.train(["-c", "none.yaml", *given.split()]) == 2
    told, count = capsys.readouterr().err.splitlines()
    assert told == f"command line: {UNKNOWN[given]}"
    assert count == "1 fault in the command line: nothing was started"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["x.yaml", "--check"], "write -c x.yaml; --help lists the flags\n"),
        (["--plugin", "mine"], "give -c CONFIG to start a run, or -r PATH to resume one; --help lists the flags\n"),
    ],
)
def test_a_command_without_a_config(given: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.train(given)
    assert left.value.code == 2
    assert capsys.readouterr().err == said
