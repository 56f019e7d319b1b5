"""Whose fault an exception is: the framework's, or the code that a user put beside it."""

from __future__ import annotations

import traceback
from pathlib import Path

from base.discovery import ROOT, own_files

NOT_USERS = ("train.py", "test.py", "tools/", "tests/", ".venv/")


def users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error's traceback that lie in files of the user's own, outermost first."""
    own = own_files()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT)]
    names = [Path(frame.filename).relative_to(ROOT).as_posix() for frame in frames]
    return [
        frame
        for frame, name in zip(frames, names, strict=True)
        if name not in own and not name.startswith(NOT_USERS) and "site-packages" not in name
    ]
