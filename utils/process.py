"""This process: garbage collection during start-up, broken pipes, and commands quoted for a shell.

A full collection takes 0.15 s once torch is imported. Starting up would trigger six of them, and training one from time
to time.
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
    """Pauses garbage collection until `gc_resume`. Only for a command that has its own process."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def gc_resume() -> None:
    """Ends the pause, if there is one. Objects that exist at this point are never collected."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def silence(stream: TextIO) -> None:
    """Discards all further output, because `| head` has closed the pipe and Python would complain at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def command(*words: object) -> str:
    """The words as one line for the user's shell; those with spaces or special characters are quoted."""
    texts = [str(word) for word in words]
    return list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
