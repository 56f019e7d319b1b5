"""Plain values as YAML 1.2 text."""

from __future__ import annotations

from typing import Any

import yaml

from base.config.nodes import scalar


class _Dumper(yaml.SafeDumper):
    """Quotes every text that YAML 1.2 would read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    try:
        plain = isinstance(scalar(text), str)
    except ValueError:
        plain = False
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def to_yaml(values: Any, inline: bool = False) -> str:
    """The text that `base.config.yaml_reader` reads as `values`; `inline` writes innermost lists as `[1, 2]`."""
    style = None if inline else False
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=style)
