"""References between keys: `${key.path}` stands for the value of that key, whatever layer wrote it.

    project: {width: 64}
    model: {type: MLP, args: {hidden: ["${project.width}"]}}

They are resolved once all layers are merged, and before types are checked, so that a value is checked where it is used;
its origin is the place of the reference. The names of facts (`${trainer.epochs}`) are reserved for these.
"""

from __future__ import annotations

from base.config.arguments import FACTS, REFERENCE, fact, fact_and_index
from base.config.document import ALIASES, Document, KeyPath, Source, dotted, walk
from base.config.layers import write_out_names
from base.errors import Fault, did_you_mean, listing


def resolve(document: Document, faults: list[Fault]) -> None:
    """Puts the values of keys in the place of references to them. Keys of the project's own (`project`) may hold texts
    that look like references and name nothing.
    """
    resolver = _Resolver(document, faults)
    for path, value in walk(document.values):
        if isinstance(value, str) and REFERENCE.search(value) and document.get(path) == value:
            resolver.resolve(path, ())
    write_out_names(document)


class _Resolver:
    def __init__(self, document: Document, faults: list[Fault]) -> None:
        self.document, self.faults = document, faults
        self.in_circles: set[KeyPath] = set()

    def resolve(self, path: KeyPath, trail: tuple[KeyPath, ...]) -> bool:
        """`trail` are the references that led here, each of which waits for the next. False after a circle."""
        value = self.document.get(path)
        name, free = fact(value), path[0] == "project"
        if name is None or fact_and_index(name)[0] in FACTS:
            if "args" not in path and not free:
                self._misplaced(path, name is None)
            return True
        target = _find(self.document, name)
        if target is None:
            if not free:
                self._unknown(path, name)
            return True
        waiting = (*trail, path)
        start = next((i for i, other in enumerate(waiting) if target == other[: len(target)]), None)
        if start is not None or target in self.in_circles:
            self._circle(waiting, start, target)
            return False
        for inner, text in walk(self.document.get(target), target):
            if isinstance(text, str) and fact(text) is not None and not self.resolve(inner, waiting):
                return False
        _put(self.document, path, target)
        return True

    def _fault(self, path: KeyPath, what: str, found: str, expected: str = "", hint: str = "") -> None:
        self.faults.append(Fault(self.document.sources[path].origin, dotted(path), what, found, expected, hint))

    def _misplaced(self, path: KeyPath, in_text: bool) -> None:
        text = self.document.get(path)
        if in_text:
            self._fault(path, "a reference stands alone", text, "${key.path} and nothing beside it")
        else:
            self._fault(path, "facts are known in args alone", text, hint="write the value itself")

    def _unknown(self, path: KeyPath, name: str) -> None:
        known = [*FACTS, *(dotted(key) for key in self.document.sources if key)]
        hint = did_you_mean(name, known) or f"facts are {listing(FACTS, 'and')}"
        self._fault(path, "no such key or fact", name, hint=hint)

    def _circle(self, waiting: tuple[KeyPath, ...], start: int | None, target: KeyPath) -> None:
        """Told once for each key outside `project`, where the circle is entered."""
        if waiting[0] not in self.in_circles:
            circle = (*waiting[start:], target) if start is not None else (*waiting, target)
            self._fault(waiting[0], "references go in a circle", " -> ".join(map(dotted, circle)))
            self.in_circles.update(waiting)


def _find(document: Document, name: str) -> KeyPath | None:
    """The path of the key: at the top, by the template's names too, or under `project`."""
    first, _, rest = name.partition(".")
    names = [".".join((*ALIASES.get(first, (first,)), *filter(None, [rest]))), f"project.{name}"]
    return next((path for path in map(document.path, names) if path in document.sources), None)


def _put(document: Document, path: KeyPath, target: KeyPath) -> None:
    reference, part, name = document.sources[path], document.part(target), str(document.get(path))
    if path[-1] == "type" and isinstance(part.values, dict) and len(document.get(path[:-1])) == 1:
        path = path[:-1]  # `model: ${project.network}`, which was taken for the name of a type
    for inner, source in part.sources.items():
        at, overridden = reference.origin, reference.overridden if not inner else ()
        part.sources[inner] = Source(at, reference.key_origin, source.text, overridden, name)
    document.put(path, part)
