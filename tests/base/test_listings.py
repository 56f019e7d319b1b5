"""`--list`: kinds, names, and everything about one name, with the YAML that names it."""

from __future__ import annotations

import inspect

import pytest

from base import cli
from base.config.arguments import FACTS, check_arguments
from base.config.document import KeyPath
from base.config.layers import write_out_names
from base.config.reader import read_yaml
from base.introspect.catalogue import (
    YOURS,
    argument_docs,
    block,
    describe_entry,
    describe_registry,
    doc_line,
    entry,
    names_by_source,
    place_of,
    public_name,
)
from base.registry import FUNCTIONS, LOSSES, METRICS, MODELS, OPTIMIZERS, REGISTRIES, SCHEDULERS

NAMES = [(symbol, name) for symbol, registry in REGISTRIES.items() if place_of(symbol) for name in registry.names()]


def test_every_block_of_every_name_validates_but_for_what_is_to_be_filled_in() -> None:
    without = []
    for symbol, name in NAMES:
        one = entry(REGISTRIES[symbol], name)
        text = block(one)
        if not text:
            without.append(name)
            continue
        tree = read_yaml(text, "pasted.yaml", [])
        assert tree is not None
        path: KeyPath = tuple(0 if part == "#" else part for part in place_of(symbol).split("."))
        tree = write_out_names(tree)
        component = tree.get(path)
        assert component["type"] == name
        origin = tree.sources[*path, "type"].origin
        faults = check_arguments(one.target, tree, path, name, origin, one.registry.supplied_to(one.target))
        wrong = {fault.key.rpartition(".args.")[2] for fault in faults}
        open_ = {key for key, value in component.get("args", {}).items() if value.startswith("<")}
        assert wrong <= open_ <= {argument.name for argument in one.arguments if argument.needed}, text
    assert len(NAMES) > 400
    assert without == ["BootStrapper", "ClasswiseWrapper", "MinMaxMetric", "MultioutputWrapper"]


def test_the_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.train(["--list"]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: " ".join(line.split()) for line in out.splitlines() if line}
    assert lines["losses"].startswith("losses loss ") and lines["losses"].endswith("of torch.nn")
    assert "14 of torch.optim" in lines["optimizers"]
    assert lines["writers"].startswith("writers (used by the program only)")
    assert set(lines) >= {symbol.lower() for symbol in REGISTRIES}


def test_the_names_of_a_kind_stand_where_they_come_from() -> None:
    assert names_by_source(LOSSES)["torch.nn"].count("MSELoss") == 1
    assert "torchvision.models" in names_by_source(MODELS) and "LeNet" in names_by_source(MODELS)["the framework's"]
    FUNCTIONS.register("ones_own")(inspect.cleandoc)
    try:
        first, names = next(iter(names_by_source(FUNCTIONS).items()))
        assert first == YOURS and "ones_own" in names
    finally:
        FUNCTIONS._registered.pop(("ones_own", "inspect"))
    assert describe_registry("loss") == describe_registry("losses")
    assert "the framework's:\n  R2, accuracy, " in describe_registry("metrics")


def test_all_about_one_name() -> None:
    assert describe_entry(entry(SCHEDULERS, "StepLR")).splitlines() == [
        "scheduler StepLR, torch.optim.lr_scheduler.StepLR",
        "  Decays the learning rate of each parameter group by gamma every step_size epochs",
        "",
        "  step_size: a whole number, 1 or more; needed",
        "      Period of learning rate decay",
        "  gamma: a number above 0; default 0.1",
        "      Multiplicative factor of learning rate decay",
        "",
        "lr_scheduler:",
        "  type: StepLR",
        "  args: {step_size: '<a whole number, 1 or more>'}",
    ]
    lines = describe_registry("accuracy").splitlines()
    assert lines[0].startswith("metric accuracy, model/metrics.py:") and lines[-1] == "- {type: accuracy}"
    assert describe_registry("LambdaLR").endswith("args: {lr_lambda: <the name of a registered function>}")
    assert describe_registry("MinMaxMetric").endswith("a config cannot use it: a config cannot express base_metric")
    assert "other arguments are accepted, but not checked" in describe_entry(entry(METRICS, "Accuracy"))


def test_facts_stand_where_a_number_would_be_a_guess() -> None:
    assert "num_classes: '${data.num_classes}'" in block(entry(MODELS, "resnet18"))
    assert "T_max: '${trainer.epochs}'" in block(entry(SCHEDULERS, "CosineAnnealingLR"))
    assert {"data.num_classes", "trainer.epochs", "trainer.total_steps"} <= set(FACTS)


def test_a_word_that_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    for word, hint in (("adamw", "'AdamW'"), ("optimiser", "'optimizers'"), ("LenNet", "'LeNet'")):
        assert cli.train(["--list", word]) == 2
        assert capsys.readouterr().err == f"--list {word}: neither a kind nor a name; did you mean {hint}?\n"


def test_a_paragraph_about_an_argument_is_one_sentence() -> None:
    class Thing:
        """What it is.

        `size`: how large it
        is. And more.

        Note: nothing.
        """

    assert argument_docs(Thing) == {"size": "how large it is"}


def test_docstrings_of_libraries_become_plain_lines() -> None:
    class Thing:
        r"""Draws a :class:`~a.Box` of ``x``, see `the paper <https://example.org>`_. More.

        Args:
            size (int or tuple(int, int), optional): how large
                it is (default: 3)
            name: what it is called. And more.
        """

    assert doc_line(Thing) == "Draws a Box of x, see the paper"
    assert argument_docs(Thing) == {"size": "how large it is", "name": "what it is called"}
    docs = argument_docs(Thing)
    Thing.__doc__ = inspect.cleandoc(Thing.__doc__ or "")  # as Python 3.13 keeps it
    argument_docs.cache_clear()
    assert argument_docs(Thing) == docs
    assert public_name(OPTIMIZERS.get("SGD"), "SGD") == "torch.optim.SGD"
    assert public_name(MODELS.get("resnet18"), "resnet18") == "torchvision.models.resnet18"
