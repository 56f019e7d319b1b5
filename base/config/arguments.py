"""Checks a component's arguments against the signature of its class or function, before anything is built."""

from __future__ import annotations

import ast
import functools
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from inspect import Parameter
from typing import Annotated, Any

from base.config.annotations import Mismatch, describe, fit, suggest_fix
from base.config.document import Document, KeyPath, dotted, walk
from base.config.torch_facts import RANGES
from base.errors import Fault, Origin, did_you_mean, listing
from base.registry import Registry

_ELSEWHERE = {
    "transform": "data.transform",
    "transforms": "data.transform",
    "target_transform": "data.target_transform",
    "fused": "optimizer.fused",
    "params": "optimizer.params",
}
"""Arguments that the program supplies, and the config key that sets each."""
FACTS: dict[str, tuple[str, Any]] = {
    "data.num_classes": ("a whole number", 10),
    "data.input_shape": ("a list of whole numbers", [1, 28, 28]),
    "data.class_counts": ("a list of whole numbers", [6000] * 10),
    "data.vocab_size": ("a whole number", 1000),
    "trainer.epochs": ("a whole number", 10),
    "trainer.total_steps": ("a whole number", 1000),
    "trainer.steps_per_epoch": ("a whole number", 100),
}
"""By name: the type in words, and an example value, with which arguments are checked."""
REFERENCE = re.compile(r"\$\{([^{}]*)\}")
"""`${...}`: a fact, or the path of a key (base/config/references.py)."""
_EXAMPLES = {name: example * 100 if name == "data.class_counts" else example for name, (_, example) in FACTS.items()}
Parameters = dict[str, Parameter]
_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


def build(registry: Registry, component: Any, facts: Mapping[str, Any] | None = None, **supplied: Any) -> Any:
    """Builds the object that `{type, args}` describes, with facts such as `${data.num_classes}` filled in."""
    target = registry.get(component.type)
    return registry.call(target, convert(target, substitute(component.args, {} if facts is None else facts)), supplied)


def substitute(value: Any, facts: Mapping[str, Any]) -> Any:
    """`value` with every string `${name}` in it replaced by the value of that fact."""
    name = fact(value)
    if name is not None:
        return value_of(name, facts)
    if isinstance(value, Mapping):
        return {key: substitute(item, facts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [substitute(item, facts) for item in value]
    return value


def convert(target: Callable[..., Any], args: Mapping[str, Any]) -> dict[str, Any]:
    """Converts `args` to the types in the signature of `target`, as `fit` does. Raises Mismatch, a ValueError."""
    known, _ = parameters(target)
    optional = {name for name in known if known[name].default is None}  # `size: int = None` takes None
    checked = {name for name, value in args.items() if name in known and not (value is None and name in optional)}
    asked = {name: annotation(target, known[name]) for name in checked}
    return {name: fit(value, asked[name], (name,)) if name in checked else value for name, value in args.items()}


def annotation(target: Any, parameter: Parameter) -> Any:
    """The annotation of a parameter, or else the type of its default, with the known range of values added."""
    asked, default, module = parameter.annotation, parameter.default, str(getattr(target, "__module__", ""))
    if asked is Parameter.empty:
        asked = type(default) if type(default) in (bool, int, float, str, list, tuple, dict) else Any
    known = next((ranges for prefix, ranges in RANGES.items() if module.startswith(prefix)), {}).get(parameter.name)
    if known is None:
        return asked
    return Annotated[asked, known] if typing.get_origin(known) is None else known


def check_arguments(
    target: Callable[..., Any],
    document: Document,
    component: KeyPath,
    name: str,
    origin: Origin,
    supplied: Collection[str] = (),
) -> list[Fault]:
    """The faults in the arguments of the component at this path: unknown, missing, of a wrong type, or supplied by
    the program. `name` is the component's type, written at `origin`.
    """
    known, any_other = parameters(target)
    known = {name: p for name, p in known.items() if not name.startswith("_")}
    settable = {name: p for name, p in known.items() if name not in supplied}
    args = document.get((*component, "args"))
    given: Mapping[str, Any] = args if isinstance(args, dict) else {}
    of_facts = _check_facts(document, (*component, "args")) if given else {}
    faults: list[Fault] = []
    for argument, value in given.items():
        path = (*component, "args", argument)
        at_key = document.sources[path].key_origin
        if argument in settable:
            asked = annotation(target, settable[argument])
            is_default = value is None and settable[argument].default is None
            faults += of_facts.get(argument) or ([] if is_default else _misfit(document, path, value, asked))
        elif argument in supplied:
            hint = f"write it in {_ELSEWHERE[argument]}" if argument in _ELSEWHERE else "remove it"
            faults.append(Fault(at_key, dotted(path), "is set by the program", hint=hint))
        elif not any_other:
            what, takes = f"{name} has no such argument", f"it takes {listing(settable, 'and') or 'none'}"
            faults.append(Fault(at_key, dotted(path), what, hint=did_you_mean(argument, settable) or takes))
    for argument, parameter in settable.items():
        if parameter.default is Parameter.empty and argument not in given:
            asked = annotation(target, parameter)
            key, expected = dotted((*component, "args", argument)), "" if asked is Any else describe(asked)
            faults.append(Fault(origin, key, f"{name} needs this argument", expected=expected))
    return faults


def _misfit(document: Document, argument: KeyPath, value: Any, asked: Any) -> list[Fault]:
    """The fault of an argument whose value does not fit the annotation `asked`."""
    try:
        fit(substitute(value, _EXAMPLES), asked, argument)
    except Mismatch as mismatch:
        path = mismatch.path
        while path not in document.sources:
            path = path[:-1]  # inside an example of a fact
        value, source = document.get(path), document.sources[path]
        name = fact(value)
        found = f"{name}, {_words(name)}" if name else document.found(path)
        what = "has no value" if value is None else mismatch.what
        hint = mismatch.hint or suggest_fix(value, source.text, mismatch.annotation)
        return [Fault(source.origin, dotted(path), what, found, mismatch.expected, hint)]
    return []


def fact(value: Any) -> str | None:
    """The name in `${name}`; None for any other value."""
    match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1] if match else None


def fact_and_index(name: str) -> tuple[str, int | None]:
    """`("data.input_shape", 0)` of `data.input_shape.0`; no index where the whole fact, or none, is named."""
    whole, _, index = name.rpartition(".")
    is_element = index.isdecimal() and whole in FACTS and isinstance(FACTS[whole][1], list)
    return (whole, int(index)) if is_element else (name, None)


def value_of(name: str, facts: Mapping[str, Any]) -> Any:
    """The fact, or its element. Raises ValueError for an element that is not there."""
    whole, index = fact_and_index(name)
    if index is None:
        return facts[name]
    if index >= len(facts[whole]):
        raise ValueError(f"${{{name}}}: {whole} has {len(facts[whole])} elements, the first is 0")
    return facts[whole][index]


def _words(name: str) -> str:
    whole, index = fact_and_index(name)
    return FACTS[whole][0] if index is None else "a whole number"


def _facts_at(path: KeyPath) -> Collection[str]:
    """The facts that are known when the component at `path` is built."""
    if path[0] != "data":
        return FACTS
    if path[1] in ("train", "valid", "test"):
        return ()
    return [name for name in FACTS if name.startswith("data.") and name != "data.input_shape"]


def _check_facts(document: Document, args: KeyPath) -> dict[str, list[Fault]]:
    """By argument, the faults of every `${...}` in it that names no fact known there."""
    known, faults = _facts_at(args), dict[str, list[Fault]]()
    for path, value in walk(document.get(args), args):
        name = fact(value) or ""
        if isinstance(value, str) and REFERENCE.search(value) and fact_and_index(name)[0] not in known:
            fault = Fault(document.sources[path].origin, dotted(path), *_wrong(value, known))
            faults.setdefault(str(path[len(args)]), []).append(fault)
    return faults


def _wrong(text: str, known: Collection[str]) -> tuple[str, str, str, str]:
    """What, found, expected, hint."""
    name = fact(text)
    if name is None:
        return "a fact stands alone", text, "${name} and nothing beside it", ""
    if fact_and_index(name)[0] not in FACTS:
        hint = did_you_mean(name, known) or (f"there are {listing(known, 'and')}" if known else "")
        return "no such fact", name, "", hint
    return "this fact is not known yet here", name, "", "write the value itself"


@functools.cache
def parameters(target: Callable[..., Any], seen: frozenset[Any] = frozenset()) -> tuple[Parameters, bool]:
    """The parameters of `target` that can be given by name, with annotations resolved, and whether it takes any other
    name, too: True for `**kwargs` that cannot be followed. `seen` are the functions followed so far.
    """
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
    """The signature; for a deprecated class that of `__init__`, which before Python 3.14 a warning `__new__` hides."""
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
    """The type that a string annotation names; `Parameter.empty` if only type checkers know it."""
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
            inner, more = parameters(callee, seen)
            bound = {k.arg for k in call.keywords} | set(list(inner)[: len(call.args)])
            found |= {name: p for name, p in inner.items() if name not in bound and name not in found}
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
