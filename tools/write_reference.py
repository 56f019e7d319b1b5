"""Writes the files that are generated from the code: configs/schema.json, docs/config.md, docs/faults_of_configs.md.

python -m tools.write_reference
"""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from base.config.arguments import FACTS
from base.config.document import KeyPath, dotted
from base.config.fields import Component, Section
from base.config.keys import Settings
from base.config.lookup import COMPONENT_PATHS, section_of, verdict_at
from base.config.messages import expected
from base.introspect.catalogue import names_by_source, place_of
from base.introspect.json_schema import schema_text
from base.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "tests/base/config/faults.txt"
_RESUME = {
    "harmless": "yes",
    "force": "with `--force`",
    "epoch_end": "with `--force`, between epochs",
    "impossible": "no",
}
_CONFIG_PAGE = """\
# Every key of a config

Written by `make docs` from base/config/keys.py. `python train.py -c CONFIG --explain` shows every key of a config
with its value and where that comes from; `--list` shows the names that components may have, `--list SGD` the arguments
of one.

A component is `{{type: Name, args: {{...}}}}`, or the bare name. `extends: other.yaml` lays a file onto another:
mappings merge, everything else replaces, another `type` drops the `args` below, `null` takes a key away. On the command
line `key.path=value` does the same. The last column says whether a run that is resumed takes another value.

{tables}

## Names and where they stand

| kind | keys | names |
|---|---|---|
{kinds}

## References and facts

`${{project.width}}` stands for the value of that key; any key of the config may be named. It is put in once all files
and overrides are merged, and checked where it stands. The names of facts are reserved.

Arguments may name what is known only once the data is read: `num_classes: ${{data.num_classes}}`. Inside `[ ]` and
`{{ }}` it stands in quotes. An element is named by its index: `${{data.input_shape.0}}`.

| fact | what it is |
|---|---|
{facts}
"""
_FAULTS_PAGE = """\
# What is said of a wrong config

Written by `make docs` from tests/base/config (faults.txt and test_document.py), where each case is a test: the text and
the place, to the letter. Every fault is reported at once, with file, line and column, and nothing is started:
exit code 2.

**A fault cannot run, or can be meant at no length of the training; a warning trains, but a part of it never acts, or
acts against its purpose.** Warnings are printed, and the run starts. They compare values of one file: a run that the
command line makes shorter (`trainer.epochs=1`) is not warned of.

Each case changes this config: a line replaces the line that starts with the same key; `$` is the command line:

```text
{base}
```
{cases}"""


def config_page() -> str:
    """docs/config.md."""
    sections = [f"## {title}\n\n{_table(section, path)}" for title, section, path in _sections(Settings, ())]
    facts = [f"| `${{{name}}}` | {words} |" for name, (words, _) in FACTS.items()]
    return _CONFIG_PAGE.format(
        tables="\n\n".join(sections), kinds="\n".join(_kinds()), facts="\n".join(facts), **_RESUME
    )


def _sections(section: type[Section], path: KeyPath) -> Iterator[tuple[str, type[Section], KeyPath]]:
    yield dotted(path).replace(".0", ", each of them") or "At the top", section, path
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None and (not issubclass(inner, Component) or set(inner.model_fields) > {"type", "args"}):
            is_list = typing.get_origin(field.annotation) is tuple
            yield from _sections(inner, (*path, name, 0) if is_list else (*path, name))


def _table(section: type[Section], path: KeyPath) -> str:
    rows = [_row(name, field, (*path, name)) for name, field in section.model_fields.items()]
    return "\n".join(
        ["| key | what it may hold | default | what it is | on a resume |", "|---|---|---|---|---|", *rows]
    )


def _row(name: str, field: FieldInfo, path: KeyPath) -> str:
    cells = [f"`{name}`", expected(path), _default(field), field.description or "", _RESUME[verdict_at(path)]]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(field: FieldInfo) -> str:
    default = field.default
    if field.is_required():
        return "must be given"
    if default is None:
        return "null"
    if isinstance(default, bool):
        return str(default).lower()
    return "" if isinstance(default, dict | tuple | Section) else str(default)


def _kinds() -> Iterator[str]:
    for symbol, registry in REGISTRIES.items():
        if place_of(symbol):
            paths = [path for path, symbols in COMPONENT_PATHS.items() if symbol in symbols]
            keys = [f"`{dotted(path).replace('.#', '')}`" for path in paths]
            names = names_by_source(registry)
            own = ", ".join(f"`{name}`" for name in names.pop("the framework's", []))
            libraries = [f"{len(known)} of {source}" for source, known in names.items() if source != "yours"]
            there_is = "; ".join(filter(None, [own, *libraries]))
            yield f"| {registry.kind} | {', '.join(dict.fromkeys(keys))} | {there_is} |"


def faults_page() -> str:
    """docs/faults_of_configs.md."""
    from tests.base.config.test_document import BAD_FILES, BAD_JSON, BAD_YAML

    _, base, *blocks = TABLE.read_text(encoding="utf-8").strip().split("\n\n")
    lines = [f"\n## {block[2:]}\n" if block.startswith("# ") else _of_table(block) for block in blocks]
    for title, cases in (("Texts that are no YAML", BAD_YAML), ("Texts that are no JSON", BAD_JSON)):
        lines.append(f"\n## {title}\n")
        lines += [_case(_short(text), f"a.{title.rpartition(' ')[2].lower()}:{said}") for text, said in cases.items()]
    lines.append("\n## Files that hold no config\n")
    lines += [_case(_short(repr(data)[1:]), said) for data, said in BAD_FILES.items()]
    return _FAULTS_PAGE.format(base=base, cases="\n".join(lines))


def _of_table(block: str) -> str:
    said = "\n".join(line.removeprefix("  ") for line in block.splitlines() if line.startswith("  "))
    return _case("\n".join(line for line in block.splitlines() if not line.startswith("  ")), said)


def _case(wrong: str, said: str) -> str:
    return f"```text\n{wrong}\n```\n```text\n{said}\n```\n"


def _short(text: str) -> str:
    text = text.replace("\t", "<tab>").rstrip("\n")
    return text if len(text) < 200 else text[:100] + " ..."


def written() -> dict[str, str]:
    """Every generated file by its path."""
    return {
        "configs/schema.json": schema_text(users=False),
        "docs/config.md": config_page(),
        "docs/faults_of_configs.md": faults_page(),
    }


if __name__ == "__main__":
    for name, text in written().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        print(f"written: {name}")
