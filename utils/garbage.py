"""Python's search for cycles of garbage, kept from walking through all that torch makes while it is imported.

A full search takes 0.15 s with torch in memory; a start makes objects enough for six of them, and training for one now
and then.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unsearched() -> Iterator[None]:
    """For a command that has a process of its own: no search until `search_from_here`."""
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def search_from_here() -> None:
    """Ends the pause, where there is one. What is there by now is not looked at again."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()
