"""What test.py found, for TensorBoard, beside the run's own curves."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from base.errors import writing
from base.registry import WRITERS
from logger.events import EventBuffer, next_path
from utils import files

BEFORE_ALL = "events.out.tfevents.0000000001"


@WRITERS.register
def outcome_of_test(
    folder: Path, name: str, step: int, values: Mapping[str, float], pictures: Mapping[str, bytes], running: bool
) -> None:
    """Writes `values` and `pictures`, PNGs, as `<name of value>/test[_<set>]` at `step`, in place of an earlier test.

    In a file that is read last, so that no beginning of the run forgets it. While the run is `running` it is read
    first: without its fast loader TensorBoard leaves a file for good when there is a later one, and would lose sight
    of the run.
    """
    split = "test" if name == "test" else f"test_{name}"
    events = EventBuffer()
    events.add_values({f"{value}/{split}": number for value, number in values.items()}, step)
    for picture, data in pictures.items():
        events.add_png(f"{picture}/{split}", data, step)
    with writing(folder):
        for earlier in folder.glob(f"events.out.tfevents.*.{name}.test"):
            earlier.unlink()
        path = folder / f"{BEFORE_ALL}.{name}.test" if running else next_path(folder, f".{name}.test")
        files.replace_file(path, events.data)
