"""What TensorBoard shows of a run beside its curves: charts, texts, and its row in HParams."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from base.errors import writing
from base.notes import read_notes
from logger.events import EventBuffer
from logger.hparams import session_start
from logger.tags import Tags
from utils import files

ABOUT = "events.out.tfevents.0000000000.about"
"""Read before all others, and written anew by each process that trains: of a tag that is no curve TensorBoard keeps
the first it meets, so that one that was added later, after a resume with another config, would not be seen."""
LONGEST_TEXT = 20_000
"""Characters of a file that TensorBoard shows; environment.json may hold a long diff."""


def introduce(
    folder: Path, header: Mapping[str, Any], config: Mapping[str, Any], tags: Tags, describe_model: Callable[[], str]
) -> None:
    """Writes the event file `ABOUT` of the run in `folder`."""
    events = EventBuffer()
    events.add_custom_scalars(tags.charts())
    events.add_text("run", fenced("json", json.dumps(header, indent=2)))
    for name, language in (("config.yaml", "yaml"), ("environment.json", "json")):
        if (folder / name).exists():
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            events.add_text(name.partition(".")[0], fenced(language, text[:LONGEST_TEXT]))
    if notes := read_notes(folder):
        events.add_text("notes", fenced("text", "\n".join(map(str, notes))))
    if model := describe_model():
        events.add_text("model", model)
    if config:
        events.add_summary(session_start(config))
    with writing(folder / ABOUT):
        files.replace_file(folder / ABOUT, events.data)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"
