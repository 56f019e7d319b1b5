"""Answers --list, --schema and --explain without starting a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from base.discovery import load_plugin
from base.runs.run_dir import CONFIG, resolve_resume


def answer(arguments: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Prints the answer to one of the flags. `arguments` are those of train.py."""
    if arguments.list is None and arguments.schema is None:
        _explain(arguments, overrides)
        return
    for module in arguments.plugin:
        load_plugin(module)
    if arguments.list is not None:
        from base.introspect.catalogue import describe_registry

        print(describe_registry(arguments.list))
    if arguments.schema is not None:
        from base.introspect.json_schema import write_schema

        print(write_schema(arguments.schema))


def _explain(arguments: argparse.Namespace, overrides: Sequence[str]) -> None:
    from base.config import Config
    from base.introspect.explain import explain

    of_run = arguments.resume is not None
    path = resolve_resume(arguments.resume)[0].path / CONFIG if of_run else arguments.config
    config = Config.read(path, overrides, plugins=arguments.plugin, of_run=of_run)
    print(explain(config, arguments.explain))
