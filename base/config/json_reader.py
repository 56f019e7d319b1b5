"""Reads JSON by the standard's rules (RFC 8259), with the position of every value."""

from __future__ import annotations

import bisect
import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from base.config.document import DEPTH, DIGITS, Document, KeyPath, Source, Unreadable, repeated, walk
from base.errors import Fault, Origin

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"[-+.\w]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
_TEXT = json.JSONDecoder()


def read_json(text: str, source: str, faults: list[Fault]) -> Document | None:
    """The document of a JSON text; None after a fault of grammar. Repeated keys and numbers out of range are added to
    `faults` and the rest is read on.
    """
    try:
        return _Reader(text, source, faults).document()
    except Unreadable as error:
        faults.append(error.fault)
        return None


class _Reader:
    """A parser by recursive descent: `at` is the place of the next character."""

    def __init__(self, text: str, source: str, faults: list[Fault]) -> None:
        self.text, self.source, self.faults = text, source, faults
        self.at = 0
        self.sources: dict[KeyPath, Source] = {}
        self.lines = [0, *(found.end() for found in re.finditer("\n", text))]

    def document(self) -> Document:
        self.skip()
        if self.at == len(self.text):
            start = Origin(self.source, 1, 1)
            return Document(None, {(): Source(start, start)})
        value = self.value(())
        self.skip()
        if self.at < len(self.text):
            self.fail("text after the end of the config", hint="a JSON config is one { ... }")
        return Document(value, self.sources)

    def value(self, path: KeyPath, key_origin: Origin | None = None) -> Any:
        origin, start, char = self.origin(self.at), self.at, self.char
        if len(path) >= DEPTH:
            raise Unreadable(Fault(origin, "", f"nested more than {DEPTH} deep"))
        self.sources[path] = Source(origin, key_origin or origin)
        if char == "{":
            return self.mapping(path)
        if char == "[":
            return [self.value((*path, i)) for i, _ in enumerate(self.entries("]"))]
        value = self.string() if char == '"' else self.word(origin)
        text = f'"{value}"' if char == '"' else self.text[start : self.at]
        self.sources[path] = Source(origin, key_origin or origin, text)
        return value

    def mapping(self, path: KeyPath) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for _ in self.entries("}"):
            origin = self.origin(self.at)
            if self.char != '"':
                self.fail("a key without double quotes", expected='"key": value')
            key = self.string()
            self.skip()
            if self.char != ":":
                self.fail(f"no ':' after the key {key!r}")
            self.at += 1
            self.skip()
            if key in items:
                self.faults.append(repeated(key, origin, self.sources[*path, key]))
                for inner, _ in walk(items[key], (*path, key)):
                    del self.sources[inner]
            items[key] = self.value((*path, key), origin)
        return items

    def entries(self, end: str) -> Iterator[None]:
        """Stops at the start of every entry between the brackets."""
        opened = self.at
        self.at += 1
        self.skip()
        while self.char != end:
            yield
            self.skip()
            if self.char == ",":
                comma, self.at = self.at, self.at + 1
                self.skip()
                if self.char == end:
                    self.at = comma
                    self.fail("a comma after the last entry", hint="remove it: JSON allows none there")
            elif not self.char:
                self.at = opened
                self.fail("this bracket is never closed", hint="is the file cut off?")
            elif self.char != end:
                self.fail("no comma between two entries", expected=f"',' or {end!r}")
        self.at += 1

    def string(self) -> str:
        start = self.at
        try:
            value, self.at = _TEXT.raw_decode(self.text, start)
            return str(value).encode().decode()
        except json.JSONDecodeError as error:
            self.at = error.pos
            if "Unterminated" in error.msg:
                self.fail("the text in quotes is not closed", hint="is the file cut off?")
            if "control" in error.msg:
                self.fail("a line break or tab inside quotes", hint="write \\n or \\t")
            self.fail("an unknown escape", hint="write \\\\ for a backslash")
        except UnicodeEncodeError:
            self.at = start
            self.fail("half of a surrogate pair is no character")

    def word(self, origin: Origin) -> Any:
        """A number, true, false or null."""
        match = _WORD.match(self.text, self.at)
        word = match[0] if match else ""
        number = _NUMBER.fullmatch(word)
        if word not in _WORDS and number is None:
            hint = "text is written in double quotes" if word[:1].isalpha() or self.char == "'" else ""
            hint = f"write {word.lower()}" if word.lower() in _WORDS else hint
            self.fail("no JSON value", expected="a number, text, true, false, null, [ or {", hint=hint)
        self.at += len(word)
        if number is None:
            return _WORDS[word]
        if number[2] or number[3]:
            value: float = float(word)
        else:
            value = int(word) if len(word) <= DIGITS else math.inf
        if math.isinf(value):
            self.faults.append(Fault(origin, "", "too large for a number", word[:40]))
        return value

    @property
    def char(self) -> str:
        """The next character; empty at the end."""
        return self.text[self.at : self.at + 1]

    def skip(self) -> None:
        match = _SPACE.match(self.text, self.at)
        assert match is not None
        self.at = match.end()
        if self.text.startswith(("//", "/*", "#"), self.at):
            self.fail("JSON has no comments", hint="remove it, or write the config as YAML")

    def origin(self, at: int) -> Origin:
        line = bisect.bisect_right(self.lines, at)
        return Origin(self.source, line, at - self.lines[line - 1] + 1)

    def fail(self, what: str, expected: str = "", hint: str = "") -> NoReturn:
        word = _WORD.match(self.text, self.at)
        found = repr(word[0][:40]) if word else repr(self.char) if self.char else "the end of the file"
        raise Unreadable(Fault(self.origin(self.at), "", what, found, expected, hint))
