"""Compares runs in a table: how they ended, their metrics, and the config keys that differ.

python tools/compare.py saved 'val_accuracy>0.9' optimizer.type=SGD --sort val_accuracy
python tools/compare.py saved --html report.html
python tools/compare.py saved --diff 20261120-164203 20261120-171530
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from logger.compare.html_report import draw_curves, write_report
from logger.compare.tables import difference, overview, read_runs, select, sorted_words
from utils.process import silence

DESCRIPTION = (
    "Compares runs. Filters: val_accuracy>0.9 lr<=0.01 optimizer.type=SGD state!=killed name=fashion* tag=best"
)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument(
        "words", nargs="*", metavar="FOLDER|FILTER", help="folders of runs (default: saved), and filters"
    )
    parser.add_argument("--sort", metavar="NAME", help="a metric (best first), a key, time, state ...")
    parser.add_argument("--reverse", action="store_true", help="reverse the order")
    parser.add_argument("--diff", nargs=2, metavar=("A", "B"), help="two runs: config, code, environment, metrics")
    forms = parser.add_mutually_exclusive_group()
    for name in ("json", "csv", "markdown"):
        forms.add_argument(f"--{name}", dest="form", action="store_const", const=name, help=f"print {name}")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw the curves (also .svg, .pdf)")
    parser.add_argument(
        "--html", type=Path, metavar="FILE.html", help="write a page with table, curves and confusion matrices"
    )
    options = parser.parse_intermixed_args(argv)
    form = options.form or "text"
    if options.diff and form in ("csv", "markdown"):
        parser.error(f"--diff prints text or --json, not --{form}")
    folders, filters = sorted_words(options.words)
    everything = read_runs(folders)
    comparison = select(everything, filters, options.sort, options.reverse)
    if options.diff:
        text = difference(everything, options.diff, form)
    else:
        text = overview(comparison, form, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    if options.plot:
        draw_curves(comparison, options.plot)
    if options.html:
        write_report(comparison, options.html, f"Runs in {', '.join(map(str, folders))}")
    try:
        print(text, flush=True)
    except BrokenPipeError:
        silence(sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
