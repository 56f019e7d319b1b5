"""Adds a note or tags to a run at any time; tools/compare.py shows them and filters by them.

python tools/note.py saved/fashion_mnist/20261120-164203 "the one to beat" --tag baseline
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from base.runs.run_dir import Note, read_notes, resolve_resume


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Adds a note or tags to a run; prints all of them.")
    parser.add_argument("run", metavar="RUN", help="the run's folder")
    parser.add_argument("text", nargs="?", default="", metavar="TEXT", help="the note")
    parser.add_argument("--tag", action="append", default=[], metavar="WORD", help="a word to find the run by")
    arguments = parser.parse_intermixed_args(argv)
    folder, _ = resolve_resume(arguments.run)
    Note(arguments.text, tuple(arguments.tag)).add_to(folder.path)
    for note in read_notes(folder.path):
        print(note)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
