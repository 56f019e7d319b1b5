"""Where `**kwargs` go: the parameters behind them, found in the calls that the source passes them on to."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Callable, Iterator
from inspect import Parameter
from typing import Any

Parameters = dict[str, Parameter]
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@functools.cache
def parameters(target: Callable[..., Any]) -> tuple[Parameters, bool]:
    """What `target` may be given by name, its annotations resolved, and whether any other name may be given too: true
    for `**kwargs` that cannot be followed.
    """
    return _parameters(target, frozenset())


def _parameters(target: Any, seen: frozenset[Any]) -> tuple[Parameters, bool]:
    try:
        signature = _signature(target)
    except (TypeError, ValueError):
        return {}, True
    function = _function(target)
    scope = getattr(function, "__globals__", {})
    found = {p.name: p.replace(annotation=_resolved(p.annotation, scope)) for p in signature.parameters.values()}
    named = {name: p for name, p in found.items() if p.kind in _NAMED}
    keywords = next((name for name, p in found.items() if p.kind is Parameter.VAR_KEYWORD), None)
    if keywords is None:
        return named, False
    if function is None or function in seen:
        return named, True
    passed_on, other = _behind(target, function, keywords, seen | {function})
    return named | {name: p for name, p in passed_on.items() if name not in named}, other


def _signature(target: Any) -> inspect.Signature:
    """Of a deprecated class that of its `__init__`: before Python 3.14 the `__new__` that warns stood before it."""
    if not (inspect.isclass(target) and "__deprecated__" in vars(target)):
        return inspect.signature(target)
    initialize = inspect.signature(target.__init__)
    return initialize.replace(parameters=list(initialize.parameters.values())[1:])


def _function(target: Any) -> types.FunctionType | None:
    """The function whose parameters `inspect.signature` shows."""
    if inspect.isclass(target):
        target = target.__init__ if target.__init__ is not object.__init__ else target.__new__
    target = inspect.unwrap(target)
    return target if isinstance(target, types.FunctionType) else getattr(target, "__func__", None)


def _resolved(annotation: Any, scope: dict[str, Any]) -> Any:
    """A string annotation as what it names; empty when that is known to type checkers only."""
    if not isinstance(annotation, str):
        return annotation
    try:
        holder = types.SimpleNamespace(__annotations__={"it": annotation})
        return typing.get_type_hints(holder, scope, {}, include_extras=True)["it"]
    except Exception:
        return Parameter.empty


def _behind(target: Any, function: Any, keywords: str, seen: frozenset[Any]) -> tuple[Parameters, bool]:
    tree = _source(function)
    if tree is None:
        return {}, True
    found: Parameters = {}
    followed, other = False, False
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        found |= {name: Parameter(name, Parameter.KEYWORD_ONLY, default=None) for name in _taken(call, keywords)}
        if any(k.arg is None and isinstance(k.value, ast.Name) and k.value.id == keywords for k in call.keywords):
            callee = _callee(call.func, target, function)
            if callee is None:
                other = True
                continue
            followed = True
            theirs, more = _parameters(callee, seen)
            bound = {k.arg for k in call.keywords} | set(list(theirs)[: len(call.args)])
            found |= {name: p for name, p in theirs.items() if name not in bound and name not in found}
            other |= more
    return found, other or not followed


def _source(function: Any) -> ast.AST | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return None


def _taken(call: ast.Call, keywords: str) -> Iterator[str]:
    """`size` of `kwargs.pop("size", 8)`."""
    func = call.func
    takes = isinstance(func, ast.Attribute) and func.attr in ("pop", "get") and isinstance(func.value, ast.Name)
    if takes and func.value.id == keywords and call.args and isinstance(call.args[0], ast.Constant):  # type: ignore[attr-defined]
        yield str(call.args[0].value)


def _callee(func: ast.expr, target: Any, function: Any) -> Any:
    """What is called: a name of the function's module, or `super().__init__` of the class."""
    if isinstance(func, ast.Name):
        return function.__globals__.get(func.id)
    is_super = isinstance(func, ast.Attribute) and func.attr == "__init__" and isinstance(func.value, ast.Call)
    if not (is_super and inspect.isclass(target)):
        return None
    owners = [cls for cls in target.__mro__ if "__init__" in vars(cls)]
    later = next((b for a, b in itertools.pairwise(owners) if vars(a)["__init__"] is function), None)
    return None if later is object else later
