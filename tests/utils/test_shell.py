"""Printed commands reach the program as they were meant."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from utils import process


@pytest.mark.skipif(sys.platform == "win32", reason="the shell's rules are POSIX's")
def test_a_shell_gives_the_words_back() -> None:
    words = ["python", "a b", "it's", "$HOME", "data=[{a: 1}]", "", "*"]
    assert shlex.split(process.command(*words)) == words
    show = "import sys; print(sys.argv[1:])"
    line = process.command(sys.executable, "-c", show, *words)
    assert subprocess.run(line, shell=True, capture_output=True, text=True).stdout.strip() == str(words)


def test_plain_words_stay_plain() -> None:
    line = "python train.py -r saved/small/20261120-164203 trainer.epochs=3"
    assert process.command(*line.split()) == line
