"""Finds which file defines which name by parsing the project's files, and loads allowed plugins."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import tomllib
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("data_loader", "model", "trainer", "logger")
BASES = {
    "BaseModel": "MODELS",
    "BaseDataLoader": "DATASETS",
    "DataLoader": "DATASETS",
    "BaseTrainer": "TRAINERS",
    "Trainer": "TRAINERS",
    "Metric": "METRICS",
    "Callback": "CALLBACKS",
    "Dataset": "DATASETS",
    "IterableDataset": "DATASETS",
}
"""A subclass of one of these is registered under its own name, even without a decorator."""
FUNCTION_FILES = {"loss.py": "LOSSES", "metric.py": "METRICS"}
"""In a file of this name every public function and class is registered, as in pytorch-template."""


@dataclass(frozen=True)
class Definition:
    registry: str
    name: str
    module: str
    path: Path
    line: int
    own: bool
    """True in the framework's files; a user's definition of the same name takes precedence."""

    @property
    def place(self) -> str:
        return f"{self.path.relative_to(ROOT).as_posix()}:{self.line}"


@dataclass
class Index:
    """The definitions in the project's files, by registry and name."""

    users: dict[tuple[str, str], list[Definition]] = field(default_factory=dict)
    own: dict[tuple[str, str], Definition] = field(default_factory=dict)
    """Definitions in the framework's files."""
    modules: set[str] = field(default_factory=set)
    """Modules with at least one definition."""
    broken: dict[str, str] = field(default_factory=dict)
    """Files that cannot be parsed, and why."""

    def add(self, definition: Definition) -> None:
        key = (definition.registry, definition.name)
        self.modules.add(definition.module)
        if definition.own:
            self.own.setdefault(key, definition)
        else:
            self.users.setdefault(key, []).append(definition)


def own_files() -> frozenset[str]:
    """The framework's files, listed in base/manifest.txt; every other file is the user's."""
    return frozenset((ROOT / "base" / "manifest.txt").read_text(encoding="utf-8").split())


def build_index() -> Index:
    """Parses the files of the four folders that may define a name (about 1 ms each)."""
    index, own = Index(), own_files()
    bases: dict[str, list[str]] = {}
    undecorated: list[tuple[ast.ClassDef | ast.FunctionDef, str, Path]] = []
    for path in sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py") if p.name != "__init__.py"):
        name, text = path.relative_to(ROOT).as_posix(), path.read_bytes()
        if name in own and b".register" not in text:
            continue
        try:
            tree = ast.parse(text, filename=name)
        except SyntaxError as error:
            index.broken[name] = f"line {error.lineno or 1}: {error.msg}"
            continue
        except ValueError as error:
            index.broken[name] = f"line 1: {error}"
            continue
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in (node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)):
            registered = list(_decorations(node))
            for registry, registered_name in registered:
                index.add(Definition(registry, registered_name, module, path, node.lineno, name in own))
            if name not in own and isinstance(node, ast.ClassDef):
                bases[node.name] = [_last_name(base) for base in node.bases]
            if name not in own and not (registered or node.name.startswith("_") or _is_abstract(node)):
                undecorated.append((node, module, path))
    for node, module, path in undecorated:
        by_base = _registry_of(node.name, bases) if isinstance(node, ast.ClassDef) else None
        if symbol := FUNCTION_FILES.get(path.name) or by_base:
            index.add(Definition(symbol, node.name, module, path, node.lineno, own=False))
    return index


def _last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`, `a` of `a[T]`."""
    if isinstance(node, ast.Subscript):
        return _last_name(node.value)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _decorations(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, str]]:
    """(registry, registered name) of each decorator that registers the definition."""
    for decorator in node.decorator_list:
        call = decorator if isinstance(decorator, ast.Call) else None
        target = call.func if call else decorator
        if isinstance(target, ast.Attribute) and target.attr == "register" and _last_name(target.value).isupper():
            named = call.args[0].value if call and call.args and isinstance(call.args[0], ast.Constant) else node.name
            yield _last_name(target.value), str(named)


def _registry_of(name: str, bases: Mapping[str, list[str]], seen: frozenset[str] = frozenset()) -> str | None:
    """The registry of a user's class by its base classes, followed through the user's other classes."""
    for base in bases.get(name, ()):
        if base in BASES and base != name:
            return BASES[base]
        if base not in seen and (registry := _registry_of(base, bases, seen | {base})):
            return registry
    return None


def _is_abstract(node: ast.ClassDef | ast.FunctionDef) -> bool:
    if isinstance(node, ast.FunctionDef):
        return False
    methods = [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]
    return any(_last_name(base) == "ABC" for base in node.bases) or any(
        _last_name(decorator) == "abstractmethod" for method in methods for decorator in method.decorator_list
    )


GROUP = "torch_atelier.plugins"


def allowed_plugins(command_line: Iterable[str] = ()) -> dict[str, str]:
    """The names that `plugins:` of a config may contain, and the module of each.

    Allowed are installed packages with an entry point in the group `torch_atelier.plugins`, the modules listed under
    `[tool.torch_atelier] plugins` in pyproject.toml, and modules or packages given with `--plugin NAME`.
    """
    pyproject = ROOT / "pyproject.toml"
    settings = tomllib.loads(pyproject.read_text(encoding="utf-8")) if pyproject.is_file() else {}
    listed = settings.get("tool", {}).get("torch_atelier", {}).get("plugins", [])
    installed = {point.name: point.value.partition(":")[0] for point in importlib.metadata.entry_points(group=GROUP)}
    return {name: name for name in command_line} | installed | {name: name for name in listed}


def flags(plugins: Iterable[str]) -> list[str]:
    """The `--plugin` flags that `plugins` need on a command line: none for plugins that are allowed anyway."""
    allowed = allowed_plugins()
    return [word for name in plugins if name not in allowed for word in ("--plugin", name)]


def load_plugin(module: str) -> None:
    """Imports one allowed module; its decorators register what it defines."""
    importlib.import_module(module)


NOT_USERS = ("train.py", "test.py", "tools/", "tests/", ".venv/")


def users_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of an error's traceback that are in the user's own files, outermost first."""
    own = own_files()
    frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(ROOT)]
    names = [Path(frame.filename).relative_to(ROOT).as_posix() for frame in frames]
    return [
        frame
        for frame, name in zip(frames, names, strict=True)
        if name not in own and not name.startswith(NOT_USERS) and "site-packages" not in name
    ]
