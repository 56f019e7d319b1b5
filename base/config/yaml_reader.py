"""YAML into nodes: PyYAML's grammar, YAML 1.2's meaning of scalars, plain values and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from base.config.nodes import DEPTH, SIZE, Node, Unreadable, repeated, scalar
from base.errors import Fault, Origin

_SAID = {
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
"""PyYAML's words; what is wrong and how to mend it in ours. The first that fits is used."""


def read_yaml(text: str, source: str, faults: list[Fault]) -> Node | None:
    """The tree of a YAML text; None after a fault of grammar. Repeated keys, tags and numbers out of range are added to
    `faults` and the rest is read on.
    """
    composer: Any = None
    try:
        composer = _Composer(text, source, faults)
        root = composer.get_single_node()
        return Node(None, Origin(source, 1, 1)) if root is None else _Reader(source, faults).node(root)
    except Unreadable as error:
        faults.append(error.fault)
    except yaml.MarkedYAMLError as error:
        faults.append(_grammar(error, text, source))
    except (yaml.YAMLError, ValueError, OverflowError):  # such as "\UFFFFFFFF", which PyYAML lets chr() refuse
        origin = _origin(source, composer.get_mark()) if composer else Origin(source, 1, 1)
        faults.append(Fault(origin, "", "a character that no text can hold"))
    return None


class _Resolver:
    """Leaves the meaning of scalars to `nodes.scalar`."""

    def descend_resolver(self, parent: Any, index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


class _Composer(Reader, Scanner, Parser, Composer, _Resolver):
    """A text into PyYAML's nodes. Tags are refused; depth is bounded, before the interpreter's stack is."""

    def __init__(self, text: str, source: str, faults: list[Fault]) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        self.source, self.faults = source, faults
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        origin = _origin(self.source, event.start_mark)
        if getattr(event, "tag", None):
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.faults.append(Fault(origin, "", "tags are not read", tag, "plain values", "remove the tag"))
        self.depth += 1
        if self.depth > DEPTH:
            raise Unreadable(Fault(origin, "", f"nested more than {DEPTH} deep"))
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reader:
    """PyYAML's nodes into ours. Aliases are written out, up to a bound."""

    def __init__(self, source: str, faults: list[Fault]) -> None:
        self.source, self.faults = source, faults
        self.size = 0
        self.open: list[Any] = []

    def node(self, node: Any) -> Node:
        origin = _origin(self.source, node.start_mark)
        self.size += 1
        if self.size > SIZE:
            raise Unreadable(Fault(origin, "", f"more than {SIZE:,} values once the aliases are written out"))
        if any(node is outer for outer in self.open):
            raise Unreadable(Fault(origin, "", "a value that holds an alias of itself"))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, origin)
        self.open.append(node)
        items = node.value
        value = self.mapping(items) if isinstance(node, yaml.MappingNode) else [self.node(item) for item in items]
        self.open.pop()
        return Node(value, origin)

    def scalar(self, node: Any, origin: Origin) -> Node:
        written = node.value if node.style is None else f'"{node.value}"'
        try:
            text = node.value.encode("utf-16", "surrogatepass").decode("utf-16")  # joins escaped surrogate pairs
        except UnicodeDecodeError:
            self.faults.append(Fault(origin, "", "half of a surrogate pair is no character"))
            return Node(None, origin)
        if node.style is not None:
            return Node(text, origin, text=f'"{text}"')
        try:
            return Node(scalar(text), origin, text=text)
        except ValueError as error:
            hint = "put it in quotes if text is meant"
            self.faults.append(Fault(origin, "", str(error), text[:40], "a finite number", hint))
            return Node(None, origin, text=written)

    def mapping(self, pairs: list[tuple[Any, Any]]) -> dict[str, Node]:
        items: dict[str, Node] = {}
        for key_node, value_node in pairs:
            origin = _origin(self.source, key_node.start_mark)
            key = str(key_node.value)
            if not isinstance(key_node, yaml.ScalarNode):
                self.faults.append(Fault(origin, "", "a list or mapping as a key", expected="text"))
            elif key == "<<" and key_node.style is None:
                hint = "write the keys out, or put them in a file named by extends"
                self.faults.append(Fault(origin, key, "merge keys are not read", hint=hint))
            else:
                if key in items:
                    self.faults.append(repeated(key, origin, items[key]))
                items[key] = replace(self.node(value_node), key_origin=origin)
        return items


def _origin(source: str, mark: Any) -> Origin:
    return Origin(source, mark.line + 1, mark.column + 1)


def _grammar(error: Any, text: str, source: str) -> Fault:
    """The place of an error and what it means: not always the place where PyYAML noticed it."""
    mark = error.problem_mark or error.context_mark
    line = [*text.splitlines(), "", ""][mark.line]
    before = line[: mark.column]
    if "mapping values are not allowed" in error.problem:
        if ": " in before:
            what, hint = "a second ':' in this line", "put text that holds ': ' in quotes"
            return Fault(_origin(source, mark), "", what, hint=hint)
        what, hint = "not lined up with the lines above", "line it up; or is a ':' missing in the line above?"
        return Fault(Origin(source, mark.line + 1, len(before) - len(before.lstrip()) + 1), "", what, hint=hint)
    what, hint = next((ours for words, ours in _SAID.items() if words in error.problem), (error.problem, ""))
    if "opened by" in what and "${" in line:
        return Fault(_origin(source, mark), "", "a '{' inside brackets", hint='in [ ] and { } write "${...}" in quotes')
    if ("not closed" in what or "no ':'" in what) and error.context_mark:  # where it begins, not where it is missed
        mark = error.context_mark
    return Fault(_origin(source, mark), "", what, hint=hint)
