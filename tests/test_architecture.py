"""The house: arrows only downward, nothing longer than a screen, nothing that lets code in."""

from __future__ import annotations

import ast
import functools
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OWN = (ROOT / "base" / "manifest.txt").read_text(encoding="utf-8").split()
MAY_IMPORT = {
    "train.py": {"base"},
    "test.py": {"base"},
    "data_loader": {"data_loader", "base", "utils"},
    "model": {"model", "base", "utils"},
    "trainer": {"trainer", "base", "utils"},
    "logger": {"logger", "base", "utils"},
    "base": {"base", "utils"},
    "utils": {"utils"},
}
HOUSE = {"train", "test", "data_loader", "model", "trainer", "logger", "base", "utils"}
TEMPLATE = ["model", "loss", "metric", "data_loaders", "trainer", "logger", "visualization", "util"]
FREE_NAMES = {f"{name}.py" for name in TEMPLATE}


@functools.cache
def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Modules that a file imports: at the top, inside functions, or for type checkers alone."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


@pytest.mark.parametrize("name", OWN)
def test_arrows_go_downward(name: str) -> None:
    allowed = MAY_IMPORT[name.split("/")[0]]
    wrong = {m for m in imported(parsed(name)) if m.split(".")[0] in HOUSE - allowed}
    assert not wrong, f"{name} must not import {sorted(wrong)}"


def circle_in(arrows: Mapping[str, Collection[str]]) -> list[str]:
    """A chain of modules that ends where it begins; empty if there is none."""
    done: set[str] = set()

    def visit(module: str, trail: list[str]) -> list[str]:
        if module in trail:
            return [*trail[trail.index(module) :], module]
        if module not in done:
            for target in sorted(arrows[module]):
                if circle := visit(target, [*trail, module]):
                    return circle
            done.add(module)
        return []

    return next((circle for module in arrows if (circle := visit(module, []))), [])


def own_imports(trees: Mapping[str, ast.Module]) -> dict[str, set[str]]:
    """By module, those of `trees` that it imports. `from base.config import keys` imports the module `keys` and nothing
    that the package itself defines."""
    arrows: dict[str, set[str]] = {module: set() for module in trees}
    for module, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                arrows[module] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                full = {f"{node.module}.{alias.name}" for alias in node.names}
                arrows[module] |= {name if name in trees else node.module for name in full}
    return {module: targets & trees.keys() - {module} for module, targets in arrows.items()}


def trees_by_module() -> dict[str, ast.Module]:
    return {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): parsed(name) for name in OWN}


def test_no_circles_of_imports() -> None:
    """Those for type checkers alone and those inside functions count: they, too, keep a file from being read alone."""
    circle = circle_in(own_imports(trees_by_module()))
    assert not circle, f"a circle: {' -> '.join(circle)}"


@pytest.mark.parametrize(
    "planted",
    [
        "from base.loop.base_trainer import BaseTrainer",
        "if TYPE_CHECKING:\n    from base.loop.base_trainer import BaseTrainer",
        "def late():\n    from base.loop import base_trainer",
        "def late():\n    import base.loop.base_trainer",
    ],
)
def test_a_circle_is_seen_however_it_is_imported(planted: str) -> None:
    trees = trees_by_module()
    text = (ROOT / "base" / "loop" / "optim.py").read_text(encoding="utf-8")
    trees["base.loop.optim"] = ast.parse(f"{text}\n{planted}\n")
    circle = circle_in(own_imports(trees))
    assert circle[0] == circle[-1] and {"base.loop.optim", "base.loop.base_trainer"} <= set(circle)


@pytest.mark.parametrize("name", OWN)
def test_functions_fit_a_screen_and_files_a_few(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= (50 if name in ("train.py", "test.py") else 400)
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 50, f"{name}:{node.lineno}: {node.name} has {length} lines"


@pytest.mark.parametrize("name", OWN)
def test_nothing_lets_code_in(name: str) -> None:
    tree = parsed(name)
    assert not {m for m in imported(tree) if m.split(".")[0] in ("pickle", "dill", "cloudpickle", "marshal", "shelve")}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load"), node.lineno
            if called == "torch.load":
                assert "weights_only=True" in ast.unparse(node), f"{name}:{node.lineno}"


def test_the_files_of_the_template_are_left_to_users() -> None:
    assert not [name for name in OWN if Path(name).name in FREE_NAMES]


def test_every_file_of_the_manifest_is_there_and_base_and_utils_are_whole() -> None:
    assert [name for name in OWN if not (ROOT / name).is_file()] == []
    inner = {p.relative_to(ROOT).as_posix() for folder in ("base", "utils") for p in (ROOT / folder).rglob("*.py")}
    assert inner <= set(OWN)
