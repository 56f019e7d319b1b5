"""This process: garbage collection during start-up, broken pipes, and commands quoted for a shell.

A full search takes 0.15 s with torch in memory; a start makes objects enough for six of them, and training for one now
and then.
"""

from __future__ import annotations

import gc
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from subprocess import list2cmdline
from typing import TextIO


@contextmanager
def gc_paused() -> Iterator[None]:
    """For a command that has a process of its own: no search until `gc_resume`."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def gc_resume() -> None:
    """Ends the pause, where there is one. What is there by now is not looked at again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def silence(stream: TextIO) -> None:
    """What is written from here on goes nowhere: `| head` has read enough, and python would complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def command(*words: object) -> str:
    """The words as one line for the user's shell; those with spaces or special characters are quoted."""
    texts = [str(word) for word in words]
    return list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
