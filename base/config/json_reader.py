"""Reads JSON (RFC 8259): Python's parser checks the grammar, the YAML reader gives values and places."""

from __future__ import annotations

import json
import re

from base.config.document import Document
from base.config.reader import YAMLLoader, end_of, read_yaml
from base.errors import Fault, Origin

_AS_YAML = str.maketrans({"\t": " ", "\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""YAML allows no tab between tokens, and takes the others, which JSON allows in texts, for line breaks."""
_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|[][{}]')
_WORD = re.compile(r"[-+.\w]+")
_NO_VALUE = "no JSON value"
_PROBLEMS = {
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
"""By a part of the parser's message or our own word: what is wrong, what is expected, how to mend it."""


def read_json(text: str, source: str, faults: list[Fault]) -> Document | None:
    """The document of a JSON text; None after a fault of grammar. Repeated keys and numbers out of range are added to
    `faults`, and reading goes on.
    """
    try:
        json.loads(text if text.strip() else "null", parse_int=str)
    except json.JSONDecodeError as error:
        faults.append(_grammar(error, source))
        return None
    except RecursionError:
        pass  # the YAML reader says where the nesting is too deep
    return read_yaml(text.translate(_AS_YAML), source, faults, _Loader)


class _Loader(YAMLLoader):
    def __init__(self, text: str, source: str, faults: list[Fault]) -> None:
        super().__init__(text, source, faults)
        self.json = text

    def stale_possible_simple_keys(self) -> None:
        """Keys are texts in quotes. YAML's limits on them (one line, 1,024 characters) are not JSON's."""
        keys = self.possible_simple_keys.items()
        self.possible_simple_keys = {level: key for level, key in keys if self.json[key.index] == '"'}

    def scalar(self, node: object, origin: Origin) -> tuple[object, str]:
        value, text = super().scalar(node, origin)
        if text in ("NaN", "Infinity", "-Infinity"):  # Python's parser takes these
            hint = "put it in quotes if text is meant"
            self.faults.append(Fault(origin, "", "not a finite number", text, "a finite number", hint))
        return value, text


def _grammar(error: json.JSONDecodeError, source: str) -> Fault:
    """What is wrong, and where: not always the place where Python's parser noticed it."""
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
    what, expected, hint = next(told for part, told in _PROBLEMS.items() if part in problem)
    if what == _NO_VALUE and word.lower() in ("true", "false", "null"):
        hint = f"write {word.lower()}"
    elif what == _NO_VALUE and (word == "'" or word[:1].isalpha()):
        hint = "text is written in double quotes"
    return Fault(
        end_of(text[:at], source), "", what, repr(word[:40]) if word else "the end of the file", expected, hint
    )


def _open_brackets(text: str) -> list[int]:
    """The places of the brackets that nothing closes."""
    opened: list[int] = []
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            opened.append(token.start())
        elif token[0] in ("]", "}") and opened:
            opened.pop()
    return opened
