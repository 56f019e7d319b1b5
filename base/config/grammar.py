"""Explains what is wrong with the grammar of a YAML or JSON text, and where."""

from __future__ import annotations

import json
import re
from typing import Any

from base.config.document import origin_of
from base.errors import Fault, Origin

_YAML_PROBLEMS = {
    r"character '\t'": ("a tab", "YAML is indented with spaces: replace it"),
    "could not find expected ':'": ("no ':' after the key", "write key: value, with a space after the ':'"),
    "but found '<stream end>'": ("the file ends in the middle of a value", "is it cut off?"),
    "but found '}'": ("a '}' that closes nothing", "remove it"),
    "but found ']'": ("a ']' that closes nothing", "remove it"),
    "but found '<scalar>'": ("text after the end of a value", "is a ':', a comma or a quote missing?"),
    "but found '-'": ("a list entry among keys", "indent it below the key it belongs to"),
    "expected <block end>": ("not lined up with the lines above", "line it up with its neighbours, by spaces"),
    "expected ',' or ']'": ("the list opened by '[' is not closed, or lacks a comma", "write [1, 2]"),
    "expected ',' or '}'": ("the mapping opened by '{' is not closed, or lacks a comma", "write {a: 1, b: 2}"),
    "unexpected end of stream": ("the text in quotes is not closed", "is the file cut off?"),
    "another document": ("a second document after '---'", "a config is one document"),
    "undefined alias": ("an alias of nothing", "write &name before the value that *name repeats"),
    "unknown escape": ("an unknown escape in double quotes", "write \\\\ for a backslash, or use single quotes"),
    "sequence entries": ("a '-' where no list can begin", "begin the list on a line of its own"),
    "cannot start any token": ("a character that begins no value", "put the text in quotes"),
    "expected the node content": ("no value here", "is a comma left over?"),
}
"""By a part of PyYAML's message: what is wrong, and how to fix it. The first match is used."""
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[][{}]')
_WORD = re.compile(r"[-+.\w]+")
_NO_VALUE = "no JSON value"
_JSON_PROBLEMS = {
    "comment": ("JSON has no comments", "", "remove it, or write the config as YAML"),
    "open bracket": ("this bracket is never closed", "", "is the file cut off?"),
    "trailing comma": ("a comma after the last entry", "", "remove it: JSON allows none there"),
    "Unterminated": ("the text in quotes is not closed", "", "is the file cut off?"),
    "control": ("a line break or tab inside quotes", "", "write \\n or \\t"),
    "escape": ("an unknown escape", "", "write \\\\ for a backslash"),
    "Extra": ("text after the end of the config", "", "a JSON config is one { ... }"),
    "property name": ("a key without double quotes", '"key": value', ""),
    "':'": ("no ':' after the key", "':'", ""),
    "','": ("no comma between two entries", "',' or a closing bracket", ""),
    "": (_NO_VALUE, "a number, text, true, false, null, [ or {", ""),
}
"""By a part of the json module's message, or a name given in `_json_fault`: what is wrong, expected, the fix."""


def yaml_fault(error: Any, text: str, source: str) -> Fault:
    """Explains PyYAML's error at the place of its cause, which is not always where PyYAML noticed it."""
    mark = error.problem_mark or error.context_mark
    line = [*text.splitlines(), "", ""][mark.line]
    before = line[: mark.column]
    if "mapping values are not allowed" in error.problem:
        if ": " in before:
            what, hint = "a second ':' in this line", "put text that holds ': ' in quotes"
            return Fault(Origin(source, mark.line + 1, mark.column + 1), "", what, hint=hint)
        what, hint = "not lined up with the lines above", "line it up; or is a ':' missing in the line above?"
        return Fault(Origin(source, mark.line + 1, len(before) - len(before.lstrip()) + 1), "", what, hint=hint)
    what, hint = next((found for part, found in _YAML_PROBLEMS.items() if part in error.problem), (error.problem, ""))
    if "opened by" in what and "${" in line:
        what, hint = "a '{' inside brackets", 'in [ ] and { } write "${...}" in quotes'
    elif ("not closed" in what or "no ':'" in what) and error.context_mark:
        mark = error.context_mark  # where the value begins, not where its end is missing
        if "not closed" in what and " #" in text.splitlines()[mark.line]:
            hint = "what follows ' #' is a comment, brackets too: put a text that holds it in quotes"
    return Fault(Origin(source, mark.line + 1, mark.column + 1), "", what, hint=hint)


def json_fault(text: str, source: str) -> Fault | None:
    """The first error of grammar in a JSON text, or None. Too deep nesting is left to the reader to report."""
    try:
        json.loads(text if text.strip() else "null", parse_int=str)
    except json.JSONDecodeError as error:
        return _json_fault(error, source)
    except RecursionError:
        pass
    return None


def _json_fault(error: json.JSONDecodeError, source: str) -> Fault:
    """Explains the error at the place of its cause, which is not always where Python's parser noticed it."""
    text, at, problem = error.doc, error.pos, error.msg
    if problem.startswith("Expecting"):
        at = len(text) - len(text[at:].lstrip())
    before = text[:at].rstrip()
    if text.startswith(("//", "/*", "#"), at):
        problem = "comment"
    elif not text[at:] and (opened := _open_brackets(text)):
        at, problem = opened[-1], "open bracket"
    elif text.startswith(("]", "}"), at) and before.endswith(","):
        at, problem = len(before) - 1, "trailing comma"
    elif "','" in problem and _WORD.match(text[at - 1]):  # of `01` the parser reads the 0
        at, problem = len(before.rstrip("-+.0123456789")), "Expecting value"
    match = _WORD.match(text, at)
    word = match[0] if match else text[at : at + 1]
    what, expected, hint = next(texts for part, texts in _JSON_PROBLEMS.items() if part in problem)
    if what == _NO_VALUE and word.lower() in ("true", "false", "null"):
        hint = f"write {word.lower()}"
    elif what == _NO_VALUE and (word == "'" or word[:1].isalpha()):
        hint = "text is written in double quotes"
    return Fault(
        origin_of(source, text, at), "", what, repr(word[:40]) if word else "the end of the file", expected, hint
    )


def _open_brackets(text: str) -> list[int]:
    """The offsets of the brackets that are never closed."""
    opened: list[int] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            opened.append(token.start())
        elif token[0] in ("]", "}") and opened:
            opened.pop()
    return opened
