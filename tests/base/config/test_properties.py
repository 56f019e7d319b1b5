"""Properties that hold for all configs: round trips, twins, overrides; and a fuzz of the shipped ones."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from base.config import Config
from base.config.reader import read_json, read_yaml, to_yaml
from base.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SHIPPED = {file.name: Config.read(file).to_dict() for file in sorted(CONFIGS.glob("*.yaml"))}
QUICK = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

numbers = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cn", "Co")), max_size=12)
scalars = st.none() | st.booleans() | numbers | words | st.sampled_from(["yes", "1e-3", "~", "${data.num_classes}"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=8
)


@QUICK
@given(st.dictionaries(words, values, max_size=4))
def test_what_is_written_reads_back_the_same(tree: dict[str, Any]) -> None:
    faults: list[Any] = []
    for read, text in (
        (read_yaml, to_yaml(tree)),
        (read_yaml, to_yaml(tree, inline=True)),
        (read_json, json.dumps(tree)),
    ):
        node = read(text, "a", faults)
        assert not faults and node is not None
        assert repr(node.values) == repr(tree)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of scalars that an override can name."""
    if isinstance(value, dict | list) and value:
        for part, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(child, (*path, part))
    elif all("." not in str(part) for part in path):
        yield path


def _laid(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    tree = copy.deepcopy(tree)
    inner = tree
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return tree


def _outcome(read: Any) -> Any:
    """What a config is in the end, or what is wrong with it, without the places."""
    try:
        config = read()
    except ConfigError as error:
        assert str(error).count("\n") == len(error.faults)
        return sorted((fault.key, fault.what, fault.expected) for fault in error.faults)
    return config.to_dict()


changes = st.sampled_from(sorted(SHIPPED)).flatmap(
    lambda name: st.tuples(st.just(name), st.sampled_from(list(_leaves(SHIPPED[name]))), values)
)


@QUICK
@given(changes)
@example(("fashion_mnist.yaml", ("loss", "terms"), []))
def test_an_edited_file_its_json_twin_and_an_override_are_one_config(
    tmp_path: Path, change: tuple[str, tuple[Any, ...], Any]
) -> None:
    name, path, value = change
    (tmp_path / "plain.yaml").write_text(to_yaml(SHIPPED[name]), encoding="utf-8")
    edited = _laid(SHIPPED[name], path, value)
    (tmp_path / "edited.yaml").write_text(to_yaml(edited), encoding="utf-8")
    (tmp_path / "edited.json").write_text(json.dumps(edited), encoding="utf-8")
    of_yaml = _outcome(lambda: Config.read(tmp_path / "edited.yaml", of_run=True))
    assert of_yaml == _outcome(lambda: Config.read(tmp_path / "edited.json", of_run=True))
    if value is None or isinstance(value, dict):  # null removes, mappings merge: no plain edit
        return
    override = {".".join(map(str, path)): value}
    assert of_yaml == _outcome(lambda: Config.read(tmp_path / "plain.yaml", override, of_run=True))
    if isinstance(of_yaml, dict):
        (tmp_path / "again.yaml").write_text(to_yaml(of_yaml), encoding="utf-8")
        assert Config.read(tmp_path / "again.yaml", of_run=True).to_dict() == of_yaml


def _mappings(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict) and path[:1] != ("project",):
        yield path
    if isinstance(value, dict | list):
        for part, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _mappings(child, (*path, part))


@QUICK
@given(
    st.sampled_from(sorted(SHIPPED)).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(list(_mappings(SHIPPED[name]))))
    ),
    words.filter(bool),
    scalars,
)
def test_no_key_that_nothing_reads_is_accepted(
    tmp_path: Path, at: tuple[str, tuple[Any, ...]], key: str, value: Any
) -> None:
    name, path = at
    inner: Any = SHIPPED[name]
    for part in path:
        inner = inner[part]
    strange = f"{key}_x"
    (tmp_path / "a.yaml").write_text(to_yaml(_laid(SHIPPED[name], (*path, strange), value)), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        Config.read(tmp_path / "a.yaml", of_run=True)
    assert any(fault.key.endswith(strange) or strange in fault.key for fault in error.value.faults)


TEXTS = [file.read_text(encoding="utf-8") for file in sorted(CONFIGS.glob("*.yaml"))]
_edits = st.tuples(
    st.integers(0, 10**6), st.integers(0, 12), st.sampled_from(list("{}[]:,-#&*!|>'\"%@` \t\n0aé\0")) | words
)


@settings(QUICK, max_examples=100)
@given(st.sampled_from(TEXTS), st.lists(_edits, min_size=1, max_size=4))
def test_a_file_with_anything_done_to_it_is_read_or_refused(
    tmp_path: Path, text: str, edits: list[tuple[int, int, str]]
) -> None:
    for at, cut, put in edits:
        at %= len(text) + 1
        text = text[:at] + put + text[at + cut :]
    (tmp_path / "fashion_mnist.yaml").write_text(TEXTS[0], encoding="utf-8")
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    try:
        config = Config.read(tmp_path / "a.yaml")
    except ConfigError as error:
        assert error.faults and all(str(fault).count("\n") == 0 for fault in error.faults)
        assert all(fault.origin.line for fault in error.faults)
        return
    assert config.to_dict() == Config.from_dict(config.to_dict()).to_dict()
