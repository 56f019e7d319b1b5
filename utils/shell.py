"""Commands that are printed for the user to paste."""

from __future__ import annotations

import os
import shlex
from subprocess import list2cmdline


def command(*words: object) -> str:
    """The words as one line for the user's shell; those with spaces or special characters are quoted."""
    texts = [str(word) for word in words]
    return list2cmdline(texts) if os.name == "nt" else shlex.join(texts)
