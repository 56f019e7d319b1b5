"""Reading texts: what they mean, where each value stands, and what no text gets through with."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from base.config.document import Document, Source, from_plain, nested, walk
from base.config.reader import read_file, read_json, read_yaml, to_yaml
from base.errors import Fault, Origin

ROOT = Path(__file__).resolve().parents[3]


def yaml(text: str) -> Any:
    faults: list[Fault] = []
    node = read_yaml(text, "a.yaml", faults)
    assert not faults and node is not None
    return node.values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-1.", -1.0),
        ("08", 8),
        ("0x1F", 31),
        ("0o17", 15),
        ("+3", 3),
        ("yes", "yes"),
        ("off", "off"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-11-20", "2026-11-20"),
        ("=", "="),
        ("TRUE", True),
        ("tRUE", "tRUE"),
        ("~", None),
        ("", None),
        ('"8"', "8"),
        ("'1e-3'", "1e-3"),
        ('"\\ud83d\\ude00"', "😀"),
        ("|\n two\n lines\n", "two\nlines\n"),
        ("[1, {a: 2}]", [1, {"a": 2}]),
        ("{1: a, on: b, ~: c}", {"1": "a", "on": "b", "~": "c"}),
        ("${data.num_classes}", "${data.num_classes}"),
    ],
)
def test_yaml_means_what_version_1_2_says(text: str, value: Any) -> None:
    read = yaml(text)
    assert (read, type(read)) == (value, type(value))


def test_every_value_and_key_knows_its_place_after_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfname: x\r\ndata:\r\n  train: {type: A,\r\n          args: [1, 2]}\r\n")
    node = read_file(file, [])
    assert node is not None
    places = {path: (source.origin.line, source.origin.column) for path, source in node.sources.items()}
    assert places["name",] == (1, 7)
    assert places["data", "train"] == (3, 10)
    assert places["data", "train", "args", 1] == (4, 21)
    key = node.sources["data", "train", "args"].key_origin
    assert key is not None and (key.line, key.column) == (4, 11)


def test_aliases_are_written_out_each_with_the_place_of_its_value() -> None:
    node = read_yaml("a: &a {b: 1}\nc: *a\n", "a.yaml", [])
    assert node is not None and node.values == {"a": {"b": 1}, "c": {"b": 1}}
    assert node.sources["c",].key_origin == Origin("a.yaml", 2, 1)
    assert node.sources["c", "b"].origin == Origin("a.yaml", 1, 11)


BOMB = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join(['*' + old] * 10)}]\n" for old, new in ("ab", "bc", "cd", "de", "ef")
)
BAD_YAML = {
    "a:\n\tb: 1": "2:1: a tab; YAML is indented with spaces: replace it",
    "a:\tb": "1:3: a tab; YAML is indented with spaces: replace it",
    "a: b: c": "1:5: a second ':' in this line; put text that holds ': ' in quotes",
    "a: 1\n  b: 2": "2:3: not lined up with the lines above; line it up; or is a ':' missing in the line above?",
    "a:\n  b: 1\n c: 2": "3:2: not lined up with the lines above; line it up with its neighbours, by spaces",
    "a: 1\nb\nc: 3": "2:1: no ':' after the key; write key: value, with a space after the ':'",
    "a: 1\n- b": "2:1: a list entry among keys; indent it below the key it belongs to",
    "a: - 1": "1:4: a '-' where no list can begin; begin the list on a line of its own",
    "a: [1, 2\nb: 3": "1:4: the list opened by '[' is not closed, or lacks a comma; write [1, 2]",
    "a: {b: 1\n": "1:4: the mapping opened by '{' is not closed, or lacks a comma; write {a: 1, b: 2}",
    "a: {b: ${c.d}}": "1:9: a '{' inside brackets; in [ ] and { } write \"${...}\" in quotes",
    "a: {b: 1}}": "1:10: a '}' that closes nothing; remove it",
    "a: {b:": "1:7: the file ends in the middle of a value; is it cut off?",
    "a: 'b\nc: 1\n": "1:4: the text in quotes is not closed; is the file cut off?",
    "a: 'b' c": "1:8: text after the end of a value; is a ':', a comma or a quote missing?",
    'a: "\\q"': "1:6: an unknown escape in double quotes; write \\\\ for a backslash, or use single quotes",
    'a: "\\UFFFFFFFF"': "1:7: a character that no text can hold",
    'a: "\\ud83d"': "1:4: half of a surrogate pair is no character",
    "a: @b": "1:4: a character that begins no value; put the text in quotes",
    "a: *b": "1:4: an alias of nothing; write &name before the value that *name repeats",
    "a: &a [*a]": "1:4: a value that holds an alias of itself",
    "---\na: 1\n---\nb: 2": "3:1: a second document after '---'; a config is one document",
    "? [a]\n: 1": "1:3: a list or mapping as a key; expected text",
    "a: 1\nb: {c: 1, c: 2}": "2:11: c: key given twice; the first is at a.yaml:2:5; keep one of them",
    "<<: {a: 1}": "1:1: <<: merge keys are not read; write the keys out, or put them in a file named by extends",
    "a: !!python/object/apply:os.system [x]": "1:4: tags are not read; found !!python/object/apply:os.system; "
    "expected plain values; remove the tag",
    "a: !!str 8": "1:4: tags are not read; found !!str; expected plain values; remove the tag",
    "a: !Net": "1:4: tags are not read; found !Net; expected plain values; remove the tag",
    "a: .nan": "1:4: not a finite number; found .nan; expected a finite number; put it in quotes if text is meant",
    "a: -.INF": "1:4: not a finite number; found -.INF; expected a finite number; put it in quotes if text is meant",
    "a: {b: 2 #, c: 3}": "1:4: the mapping opened by '{' is not closed, or lacks a comma; "
    "what follows ' #' is a comment, brackets too: put a text that holds it in quotes",
    "a: 1e999": "1:4: too large for a number; found 1e999; expected a finite number; put it in quotes if text is meant",
    "[" * 70: "1:65: nested more than 64 deep",
    "{a: " * 300: "1:254: nested more than 64 deep",
    BOMB: "1:26: more than 100,000 values once the aliases are written out",
}
BAD_JSON = {
    '{"a": 1,}': "1:8: a comma after the last entry; found ','; remove it: JSON allows none there",
    '{"a": [1,\n2,\n]}': "2:2: a comma after the last entry; found ','; remove it: JSON allows none there",
    '{"a": 1 // one\n}': "1:9: JSON has no comments; found '/'; remove it, or write the config as YAML",
    '{"a": 1 "b": 2}': "1:9: no comma between two entries; found '\"'; expected ',' or a closing bracket",
    '{"a" 1}': "1:6: no ':' after the key; found '1'; expected ':'",
    "{a: 1}": "1:2: a key without double quotes; found 'a'; expected \"key\": value",
    "{\"a\": 'b'}": '1:7: no JSON value; found "\'"; expected a number, text, true, false, null, [ or {; '
    "text is written in double quotes",
    '{"a": True}': "1:7: no JSON value; found 'True'; expected a number, text, true, false, null, [ or {; write true",
    '{"a": NaN}': "1:7: not a finite number; found NaN; expected a finite number; put it in quotes if text is meant",
    '{"a": 01}': "1:7: no JSON value; found '01'; expected a number, text, true, false, null, [ or {",
    '{"a": 1e999}': "1:7: too large for a number; found 1e999; expected a finite number; "
    "put it in quotes if text is meant",
    '{"a": 1, "a": 2}': "1:10: a: key given twice; the first is at a.json:1:2; keep one of them",
    '{"a": [1, 2': "1:7: this bracket is never closed; found '['; is the file cut off?",
    '{"a": "b': "1:7: the text in quotes is not closed; found '\"'; is the file cut off?",
    '{"a": "b\nc"}': "1:9: a line break or tab inside quotes; found '\\n'; write \\n or \\t",
    '{"a": "\\q"}': "1:8: an unknown escape; found '\\\\'; write \\\\ for a backslash",
    '{"a": "\\ud83d"}': "1:7: half of a surrogate pair is no character",
    '{"a": 1} {"b": 2}': "1:10: text after the end of the config; found '{'; a JSON config is one { ... }",
    '{"a": tru}': "1:7: no JSON value; found 'tru'; expected a number, text, true, false, null, [ or {; "
    "text is written in double quotes",
    '{"a": -Infinity}': "1:7: not a finite number; found -Infinity; expected a finite number; "
    "put it in quotes if text is meant",
    "[" * 70: "1:70: this bracket is never closed; found '['; is the file cut off?",
    "[" * 70 + "]" * 70: "1:65: nested more than 64 deep",
    "[" * 100_000 + "]" * 100_000: "1:65: nested more than 64 deep",
}


@pytest.mark.parametrize(("text", "message"), BAD_YAML.items())
def test_no_bad_yaml_gets_through(text: str, message: str) -> None:
    faults: list[Fault] = []
    read_yaml(text, "a.yaml", faults)
    assert list(map(str, faults)) == [f"a.yaml:{message}"]


@pytest.mark.parametrize(("text", "message"), BAD_JSON.items(), ids=lambda text: text[:40])
def test_no_bad_json_gets_through(text: str, message: str) -> None:
    faults: list[Fault] = []
    read_json(text, "a.json", faults)
    assert list(map(str, faults)) == [f"a.json:{message}"]


BAD_FILES = {
    b"": "a.yaml:1:1: the file is empty; expected keys such as name, data, model, loss, optimizer, trainer",
    b"# nothing\n": "a.yaml:1:1: the file is empty; expected keys such as name, data, model, loss, optimizer, trainer",
    b"- a\n- b\n": "a.yaml:1:1: not a config; found a list of 2; "
    "expected keys such as name, data, model, loss, optimizer, trainer",
    b"hello": "a.yaml:1:1: not a config; found hello; "
    "expected keys such as name, data, model, loss, optimizer, trainer",
    b"name: caf\xe9": "a.yaml:1:10: not UTF-8 text; found the byte 0xe9; save it as UTF-8",
    "name: x".encode("utf-16"): "a.yaml:1:1: this is UTF-16 text; expected UTF-8; save it as UTF-8",
    b"\x89PNG\r\n\x1a\n\0\0": "a.yaml:1:1: a binary file; found the byte 0x89; name a text file",
    b"a: 1\nb: \0": "a.yaml:2:4: a binary file; found the character 0x00; expected text",
    b"a: \x07": "a.yaml:1:4: a control character; found the character 0x07; expected text",
    b"#" * 1_000_001: "a.yaml: too large for a config; found 1,000,001 bytes; expected 1,000,000 at most",
}


@pytest.mark.parametrize(("data", "message"), BAD_FILES.items(), ids=lambda value: repr(value)[:20])
def test_no_bad_file_gets_through(data: bytes, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_bytes(data)
    faults: list[Fault] = []
    assert read_file(Path("a.yaml"), faults) is None
    assert list(map(str, faults)) == [message]


def test_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/mnist.yaml").touch()
    Path("configs/notes.txt").touch()
    messages = {
        "configs/mnits.yaml": "no such file; expected a file, such as configs/mnist.yaml",
        "configs/mnist": "no such file; expected a file, such as configs/mnist.yaml",
        "config/mnist.yaml": "no such file; expected a file; there is no folder config",
        "configs": "a folder; expected a config file",
        "configs/notes.txt": "not a config; found .txt; expected .yaml, .yml or .json",
        "configs/\0": "no such file",
    }
    for name, message in messages.items():
        faults: list[Fault] = []
        assert read_file(Path(name), faults) is None
        assert list(map(str, faults)) == [f"{name}: {message}"]


TWINS = {
    "name": "a: [b] # c",
    "numbers": [1, -2, 0.5, 1e-3, 1e20, 2**63 - 1, 0],
    "texts": [
        "8",
        "1e-3",
        "yes",
        "null",
        "",
        "~",
        "0o7",
        "true",
        " a ",
        "two\nlines",
        "tab\t",
        "😀",
        "${a.b}",
        "=",
        "<<",
    ],
    "others": [True, False, None, [], {}, [[1], {"a": [None]}]],
    "on": {"1": 1, "null": 2, "a b": 3, "x:y": 4},
}


def test_yaml_and_json_twins_and_what_we_write_read_alike() -> None:
    faults: list[Fault] = []
    texts = json.dumps(TWINS), json.dumps(TWINS, indent="\t"), json.dumps(TWINS, ensure_ascii=False)
    read = [read_json(text, "a.json", faults) for text in texts] + [read_yaml(to_yaml(TWINS), "a.yaml", faults)]
    assert not faults
    for node in read:
        assert node is not None and repr(node.values) == repr(TWINS)


def test_json_knows_its_places_among_tabs_and_after_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text('{\n\t"a": [1,\n\t\t{"b": "c"}]\n}', encoding="utf-8-sig")
    node = read_file(file, [])
    assert node is not None
    found = node.sources["a", 1, "b"]
    assert found.key_origin is not None
    assert (found.origin.line, found.origin.column, found.key_origin.column) == (3, 9, 4)


def test_json_may_be_laid_out_as_yaml_may_not() -> None:
    """A colon on the next line, keys of any length, surrogate pairs in keys, and characters that YAML takes for line
    breaks.
    """
    long, faults = "k" * 1500, list[Fault]()
    text = f'{{"a"\n\t: 1,"{long}":2,\t"\\ud83d\\ude00" : "b\u2028c\u2029d\x85e\\/"}}'
    document = read_json(text, "a.json", faults)
    assert not faults and document is not None
    assert document.values == json.loads(text) == {"a": 1, long: 2, "😀": "b\u2028c\u2029d\x85e/"}


def test_python_values_must_be_plain() -> None:
    faults: list[Fault] = []
    origin = Origin("fit()")
    node = from_plain({"a": (1, "x"), "b": {"c": float("nan"), "d": object}}, origin, faults)
    assert node.values == {"a": [1, "x"], "b": {"c": None, "d": None}}
    assert [(fault.key, fault.what) for fault in faults] == [
        ("b.c", "not a finite number"),
        ("b.d", "type cannot be written in a config"),
    ]
    looped: dict[str, Any] = {}
    looped["a"] = looped
    faults.clear()
    from_plain(looped, origin, faults)
    assert [fault.what for fault in faults] == ["nested more than 64 deep"]


def test_a_document_is_asked_for_what_is_not_there() -> None:
    document = from_plain({"a": [1]}, Origin("x"), [])
    for path in (("b",), ("a", 1), ("a", "0"), ("a", 0, 0), ("a", 0, "b")):
        assert document.get(path) is None and path not in document.sources
    assert document.get(("a", 0)) == 1
    assert (document.path("a.0"), document.path("b.0"), document.path("a.b")) == (("a", 0), ("b", "0"), ("a", "b"))


def agrees(document: Document) -> bool:
    """True if the table has an entry for every value, and for nothing else."""
    return set(document.sources) == {path for path, _ in walk(document.values)}


def test_values_and_their_sources_stay_together() -> None:
    one, other = Origin("a.yaml", 1, 1), Origin("b.yaml", 2, 2)
    document = from_plain({"a": {"b": [1, {"c": 2}]}, "d": 3}, one, [])
    part = document.part(("a", "b"))
    part.values[1]["c"] = 9
    assert document.get(("a", "b", 1, "c")) == 2 and agrees(part)

    document.put(("a", "b", 1), from_plain({"e": 4}, other, []))
    document.put(("f",), nested(("g", "h"), part, Source(other, other)))
    assert document.values == {"a": {"b": [1, {"e": 4}]}, "d": 3, "f": {"g": {"h": [1, {"c": 9}]}}}
    assert agrees(document)
    origins = [document.nearest(path).origin for path in (("a", "b", 0), ("a", "b", 1, "e"), ("f", "g"), ("d", "x"))]
    assert origins == [one, other, other, one]

    popped = document.pop(("a", "b"))
    assert popped is not None and popped.values == [1, {"e": 4}] and agrees(popped) and agrees(document)
    assert document.pop(("a", "b")) is None
    document.put((), popped)
    assert document.values == [1, {"e": 4}] and agrees(document)


def test_a_repeated_key_leaves_nothing_of_the_first_behind() -> None:
    for read, text in (
        (read_yaml, "a: {b: [1, 2], c: 3}\na: {b: 4}\n"),
        (read_json, '{"a": {"b": [1], "c": 2}, "a": {"b": 4}}'),
    ):
        document = read(text, "a", [])
        assert document is not None and document.values == {"a": {"b": 4}} and agrees(document)


def test_an_unreadable_file_costs_neither_torch_nor_pydantic(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [", encoding="utf-8")
    script = """
import sys
from base import Config
try:
    Config.read(sys.argv[1])
except ValueError:
    print(sorted({"torch", "pydantic", "numpy"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.yaml")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
