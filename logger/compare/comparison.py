"""Compares runs: shared metrics, differing keys, and filters such as `val_accuracy>0.9`."""

from __future__ import annotations

import json
import operator
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from base.config.reader import scalar
from base.errors import UserError, did_you_mean, listing
from logger.compare.runs import RecordedRun
from logger.compare.text_table import printable, written

LOWER = re.compile(r"loss|error|err|mae|mse|rmse|nll|ece|brier|perplexity|distance|wer|cer|fid")
"""A metric whose name contains one of these words is better when lower, unless a run monitors it as max."""
UNINTERESTING = ("name", "trainer.save_dir")
"""Keys that say where a run is stored; its label shows them."""
ABSENT = "(absent)"


class FilterError(UserError):
    """A filter, or a name to sort by, that cannot be understood."""

    exit_code = 2


@dataclass(frozen=True)
class Score:
    """A metric of one run. None stands for a value that is not finite."""

    best: float | None
    epoch: int | None
    """The epoch of the best value; None for a result of test.py."""
    last: float | None


@dataclass(frozen=True)
class Field:
    """A property of runs to sort and filter by."""

    name: str
    read: Callable[[RecordedRun], Any]
    """Gives a number, a text, a list of texts, or None if a run lacks it."""
    lower_is_better: bool = True


class Comparison:
    """Several runs. The main metric and the directions are those of all runs, also in a selection made by `of`."""

    def __init__(self, runs: Iterable[RecordedRun]) -> None:
        self.runs = list(runs)

    def of(self, runs: Iterable[RecordedRun]) -> Comparison:
        """A comparison of some of the runs; which keys differ is computed anew."""
        chosen = Comparison(runs)
        chosen.main, chosen.modes = self.main, self.modes
        return chosen

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric of any run: the main one first, then validation, test, training."""
        names = dict.fromkeys(name for run in self.runs for name in run.curves)
        order = {"val": 1, "test": 2}
        return sorted(names, key=lambda name: 0 if name == self.main else order.get(name.partition("_")[0], 3))

    @cached_property
    def main(self) -> str:
        """The metric that most runs monitor, else the first validation metric; empty if there is none."""
        monitored = [run.monitor[1] for run in self.runs if run.monitor[1] in run.curves]
        every = [name for run in self.runs for name in run.curves]
        validated = [name for name in every if name.startswith("val_")]
        return max(monitored, key=monitored.count, default=next(iter([*validated, *every]), ""))

    @cached_property
    def modes(self) -> dict[str, str]:
        """By metric, whether the runs monitor its min or its max."""
        return {name: mode for mode, name in (run.monitor for run in reversed(self.runs))}

    def lower_is_better(self, metric: str) -> bool:
        return self.modes[metric] == "min" if metric in self.modes else by_name(metric)

    def score(self, run: RecordedRun, metric: str) -> Score | None:
        """None if the run has no such metric."""
        curve = run.curves.get(metric)
        if not curve:
            return None
        sign = 1 if self.lower_is_better(metric) else -1
        values = [(sign * value, number) for number, value in curve if value is not None]
        best = min(values, default=None)
        epoch = run.rows[best[1]].get("epoch") if best and best[1] < len(run.rows) else None
        return Score(sign * best[0] if best else None, epoch, curve[-1][1])

    @cached_property
    def differing(self) -> list[str]:
        """Config keys whose values differ between the runs that have a config."""
        configs = [run.config for run in self.runs if run.config]
        keys = dict.fromkeys(key for config in configs for key in config)
        return [
            key
            for key in keys
            if key not in UNINTERESTING and len({_exact(config.get(key, ABSENT)) for config in configs}) > 1
        ]

    def short(self, key: str) -> str:
        """The shortest end of a key that nothing else is called: `optimizer.args.lr` -> `lr`."""
        return next((end for end in _ends_of(key) if self._meanings[end] == 1), key)

    @cached_property
    def keys(self) -> list[str]:
        """Every config key of any run."""
        return list(dict.fromkeys(key for run in self.runs for key in run.config))

    @cached_property
    def _meanings(self) -> Counter[str]:
        """How many things a word may stand for."""
        return Counter([*(end for key in self.keys for end in _ends_of(key)), *OWN, *self.metrics])

    def described(self, run: RecordedRun) -> str:
        """`fashion_mnist/20261120-164203  lr=0.01`: the run with the config keys that differ."""
        keys = [f"{self.short(key)}={written(run.config[key])}" for key in self.differing if key in run.config]
        return "  ".join([printable(run.label), ", ".join(keys)]).rstrip()

    @cached_property
    def charts(self) -> dict[str, list[str]]:
        """The metrics of each quantity: `{"loss": ["val_loss", "val_night_loss", "loss"]}`."""
        curves = [name for name in self.metrics if not name.startswith("test_")]
        trained = [name for name in curves if not name.startswith("val_")]
        charts: dict[str, list[str]] = {}
        for name in curves:
            measured = name.removeprefix("val_")
            of = [known for known in trained if measured == known or measured.endswith(f"_{known}")]
            charts.setdefault(max(of, key=len, default=measured), []).append(name)
        return charts

    def field(self, word: str) -> Field:
        """The property named `val_accuracy`, `val_accuracy.last`, `lr`, `optimizer.lr`, `optimizer.args.lr`, `state`.

        FilterError if no run has it, or if the name is ambiguous.
        """
        if word in OWN:
            return Field(word, OWN[word])
        metric, _, which = word.rpartition(".") if word.endswith((".last", ".best")) else (word, "", "best")
        if metric in self.metrics:
            return Field(word, lambda run: self._number(run, metric, which), self.lower_is_better(metric))
        found = [word] if word in self.keys else [key for key in self.keys if word in _ends_of(key)]
        if len(found) == 1:
            return Field(word, lambda run: run.config.get(found[0]))
        if found:
            raise FilterError(f"{word} may be {listing(found)}: write more of it")
        known = [*OWN, *self.metrics, *self.keys, *(key.rpartition(".")[2] for key in self.keys)]
        names = f"there are {listing([*OWN, *self.metrics], 'and', 20)}, and the configs' keys"
        hint = did_you_mean(word, known) or names
        raise FilterError(f"no run has {word!r}; {hint}")

    def _number(self, run: RecordedRun, metric: str, which: str) -> float | None:
        score = self.score(run, metric)
        return None if score is None else score.last if which == "last" else score.best


OWN: dict[str, Callable[[RecordedRun], Any]] = {
    "run": lambda run: run.label,
    "name": lambda run: run.path.parent.name,
    "state": lambda run: run.state,
    "epochs": lambda run: run.epochs,
    "time": lambda run: run.seconds,
    "note": lambda run: run.note,
    "tag": lambda run: run.tags,
}
"""Properties of every run, besides metrics and config."""


def by_name(metric: str) -> bool:
    """Whether a metric is better when lower, judged by its name."""
    return any(LOWER.fullmatch(word) for word in metric.split("_"))


def _ends_of(key: str) -> list[str]:
    """`lr`, `optimizer.lr`, `args.lr`: the short names of a key, which may leave out `args`; the shortest first."""
    parts = key.split(".")
    short = [part for part in parts if part != "args"]
    ends = [".".join(words[-length:]) for words in (short, parts) for length in range(1, len(words) + 1)]
    return list(dict.fromkeys(ends))


def _exact(value: Any) -> tuple[str, str]:
    """1, 1.0, True and "1" are four values."""
    return type(value).__name__, repr(value)


_FILTER = re.compile(r"([A-Za-z_][\w.]*) *(>=|<=|!=|==|=|>|<) *(.*)", re.DOTALL)
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def is_filter(word: str) -> bool:
    return _FILTER.fullmatch(word) is not None


def chosen(comparison: Comparison, filters: Sequence[str]) -> list[RecordedRun]:
    """The runs that pass all filters. A run that lacks the property passes only `!=`; a metric means its best value."""
    tests = [_test(comparison, text) for text in filters]
    return [run for run in comparison.runs if all(test(run) for test in tests)]


def ordered(runs: Sequence[RecordedRun], field: Field) -> list[RecordedRun]:
    """The best first if it is known what is better, else the lowest; runs that lack the property last."""

    def place(run: RecordedRun) -> tuple[int, float, str]:
        value = field.read(run)
        if isinstance(value, int | float):
            return 0, float(value) if field.lower_is_better else -float(value), ""
        return (2, 0.0, "") if value is None or value == [] else (1, 0.0, str(value))

    return sorted(runs, key=place)


def _test(comparison: Comparison, text: str) -> Callable[[RecordedRun], bool]:
    match = _FILTER.fullmatch(text)
    assert match
    word, sign, wanted = match.groups()
    field = comparison.field(word)
    if sign in _ORDER:
        bound, compare = _number(wanted, text), _ORDER[sign]

        def in_order(run: RecordedRun) -> bool:
            value = field.read(run)
            return isinstance(value, int | float) and not isinstance(value, bool) and compare(value, bound)

        return in_order
    return lambda run: _equal(field.read(run), wanted) != (sign == "!=")


def _number(text: str, whole: str) -> float:
    value = _scalar(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FilterError(f"{whole}: {text!r} is no number, and only numbers have an order")
    return value


def _equal(value: Any, wanted: str) -> bool:
    """Numbers are equal however they are written, a list equals any of its texts; `*` and `?` are wildcards."""
    if isinstance(value, list):
        return any(_equal(item, wanted) for item in value) or str(value) == wanted
    number = _scalar(wanted)
    if isinstance(value, int | float) and isinstance(number, int | float):
        return value == number and isinstance(value, bool) == isinstance(number, bool)
    written = value if isinstance(value, str) else json.dumps(value)
    return fnmatchcase(written, wanted)


def _scalar(text: str) -> Any:
    try:
        return scalar(text)
    except ValueError:
        return text
