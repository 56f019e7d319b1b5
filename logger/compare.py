"""What tools/compare.py does: reads runs, chooses among them, says what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from base.errors import did_you_mean, listing
from base.run_folder import runs_below
from logger import run_difference, run_export
from logger.cells import for_markdown, printable
from logger.comparison import Comparison, FilterError
from logger.recorded_run import RecordedRun, read_run
from logger.run_filter import chosen, is_filter, ordered
from logger.run_table import groups_table, problems, runs_table
from logger.seed_groups import groups_of, verdicts


def sorted_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Folders and filters. FilterError for a word that is neither."""
    folders = [Path(word) for word in words if Path(word).is_dir()]
    others = [word for word in words if not Path(word).is_dir()]
    for word in others:
        if not is_filter(word):
            hint = "write filters with > or < in quotes: 'val_accuracy>0.9'"
            raise FilterError(f"{word}: no such folder, and no filter; {hint}")
    return folders or [Path("saved")], others


def read_runs(folders: Iterable[Path]) -> Comparison:
    """All runs in these folders, each once."""
    paths = dict.fromkeys(folder.path for root in folders for folder in runs_below(root))
    return Comparison(map(read_run, paths))


def select(
    comparison: Comparison, filters: Sequence[str], sort: str | None = None, reverse: bool = False
) -> Comparison:
    """The runs that pass all filters, in order; FilterError for a word that no run knows."""
    runs = chosen(comparison, filters)
    if sort is not None:
        runs = ordered(runs, comparison.field(sort))
    return comparison.of(reversed(runs) if reverse else runs)


def overview(comparison: Comparison, form: str = "text", width: int | None = None) -> str:
    """The table of runs; groups that differ in their seeds alone, and what to think of them; what could not be read."""
    groups = groups_of(comparison)
    sentences = verdicts(comparison, groups)
    if form == "json":
        return run_export.to_json(comparison, groups, sentences)
    if form == "csv":
        return run_export.to_csv(comparison).rstrip("\n")
    if not comparison.runs:
        return "no runs: there are none in these folders, or none passes the filters"
    tables = [runs_table(comparison), *([groups_table(comparison, groups)] if groups else [])]
    words = ["\n".join(map(printable, lines)) for lines in (sentences, problems(comparison)) if lines]
    if form == "markdown":
        return "\n\n".join([*(table.markdown() for table in tables), *map(for_markdown, words)])
    return "\n\n".join([*(table.text(width) for table in tables), *words])


def difference(comparison: Comparison, names: Sequence[str], form: str = "text") -> str:
    """Two runs, named by what `run_named` takes."""
    found = run_difference.difference(comparison, *(run_named(comparison, name) for name in names))
    return run_difference.to_json(found) if form == "json" else run_difference.to_text(found)


def run_named(comparison: Comparison, name: str) -> RecordedRun:
    """A run by its folder, its label, or a part of that which no other run has."""
    if (Path(name) / "config.yaml").is_file():
        return next((run for run in comparison.runs if run.path == Path(name)), None) or read_run(Path(name))
    whole = [run for run in comparison.runs if run.label == name]
    fitting = whole or [run for run in comparison.runs if name in run.label]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise FilterError(f"{name} may be {listing(str(run.path) for run in fitting)}: write more of it, or the folder")
    hint = did_you_mean(name, [run.label for run in comparison.runs]) or "a table without --diff names them"
    raise FilterError(f"{name}: there is no such run; {hint}")
