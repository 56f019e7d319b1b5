"""The house: arrows only downward, nothing longer than a screen, nothing that lets code in."""

from __future__ import annotations

import ast
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


def parsed(name: str) -> ast.Module:
    return ast.parse((ROOT / name).read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> set[str]:
    """Modules that a file imports, at the top or inside functions."""
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return modules


def run_time_imports(tree: ast.Module) -> set[str]:
    """Modules that importing the file imports: at the top, not inside functions, not for type checkers alone."""
    body = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test))]
    shallow = [n for n in body if isinstance(n, ast.Import | ast.ImportFrom)]
    return imported(ast.Module(body=shallow, type_ignores=[]))


@pytest.mark.parametrize("name", OWN)
def test_arrows_go_downward(name: str) -> None:
    allowed = MAY_IMPORT[name.split("/")[0]]
    wrong = {m for m in imported(parsed(name)) if m.split(".")[0] in HOUSE - allowed}
    assert not wrong, f"{name} must not import {sorted(wrong)}"


def test_no_circles_at_import() -> None:
    module_of = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): name for name in OWN}
    arrows = {m: {x for x in run_time_imports(parsed(f)) if x in module_of and x != m} for m, f in module_of.items()}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a circle: {' -> '.join([*trail, module])}"
        if module not in done:
            for target in arrows[module]:
                visit(target, (*trail, module))
            done.add(module)

    for module in arrows:
        visit(module, ())


@pytest.mark.parametrize("name", OWN)
def test_functions_fit_a_screen_and_files_a_few(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= (50 if name in ("train.py", "test.py") else 400)
    for node in ast.walk(ast.parse(text)):
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
