"""The table of faults.txt: for each wrong config every message, to the letter and the column."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Interval
from jsonschema import Draft7Validator
from torch import Tensor, nn
from torch.utils.data import Dataset

from base.config import Config
from base.config.reader import read_yaml
from base.errors import ConfigError
from base.introspect.json_schema import json_schema
from base.registry import DATASETS, FUNCTIONS, LOSSES, METRICS, MODELS

TABLE = (Path(__file__).parent / "faults.txt").read_text(encoding="utf-8")


class Shade(Enum):
    light = 1
    dark = 2


@MODELS.register
class ToyNet(nn.Module):
    def __init__(
        self,
        hidden: int = 8,
        sizes: tuple[int, ...] = (8, 8),
        dropout: Annotated[float, Interval(ge=0, le=1)] = 0.0,
        mode: Literal["thin", "wide"] = "thin",
        shade: Shade = Shade.light,
        act: Callable[..., Any] | None = None,
        weight: Tensor | None = None,
        root: Path | None = None,
        dtype: torch.dtype = torch.float32,
        table: dict[str, int] | None = None,
        inner: nn.Module | None = None,
        scale=1.0,  # type: ignore[no-untyped-def]
        bias=True,
        padding=(0, 0),
        anything=None,
    ) -> None:
        super().__init__()


@MODELS.register
class ToyHead(ToyNet):
    def __init__(self, num_classes: int, shape: tuple[int, int, int], **kwargs: Any) -> None:
        super().__init__(hidden=num_classes, **kwargs)


@MODELS.register
class ToyOpen(nn.Module):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__()
        self.kept = kwargs


@DATASETS.register
class ToyNumbers(Dataset[Any]):
    def __init__(self, root: str = "data", train: bool = True, size: int = 100) -> None: ...


@LOSSES.register
def toy_terms(output: Tensor, target: Tensor, weight: float = 1.0) -> Tensor:
    return output.sum() + weight * target.sum()


@METRICS.register
def toy_score(output: Tensor, target: Tensor, k: int = 1) -> Tensor:
    return output.sum()


@FUNCTIONS.register
def toy_pad(samples: list[Any], value: float = 0.0) -> Any:
    return samples


def cases() -> list[Any]:
    """(lines that replace those of the first block, overrides, messages) of each block but the first."""
    blocks = [block.splitlines() for block in TABLE.split("\n\n") if not block.startswith("#")]
    return [
        pytest.param(
            [line for line in block if not line.startswith(("  ", "$ "))],
            [line.removeprefix("$ ") for line in block if line.startswith("$ ")],
            [line.strip() for line in block if line.startswith("  ")],
            id=" ".join(line for line in block if not line.startswith("  "))[:60],
        )
        for block in blocks[1:]
    ]


def changed(changes: list[str]) -> str:
    """The first block of the table, with lines of the same first word replaced, others added at the end."""
    lines = {line.partition(":")[0]: line for line in TABLE.split("\n\n")[1].splitlines()}
    lines |= {line.partition(":")[0]: line for line in changes}
    return "\n".join(lines.values()) + "\n"


@pytest.mark.parametrize(("changes", "overrides", "messages"), cases())
def test_every_fault_is_told_at_its_place(
    changes: list[str],
    overrides: list[str],
    messages: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(changed(changes), encoding="utf-8")
    if messages == ["nothing is wrong"] or ": warning" in messages[0]:
        config = Config.read("bad.yaml", overrides)
        assert [str(warning) for warning in config.judged()] == [m for m in messages if m != "nothing is wrong"]
        return
    with pytest.raises(ConfigError) as error:
        Config.read("bad.yaml", overrides)
    *told, count = str(error.value).splitlines()
    assert told == messages
    assert count == f"{len(told)} fault{'s' * (len(told) > 1)} in bad.yaml: nothing was started"
    assert error.value.exit_code == 2
    assert len(error.value.faults) == len(told)


def test_a_name_like_no_other_is_told_what_there_is(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(changed(["model: os.system"]), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        Config.read(file)
    message = error.value.faults[0]
    assert (message.key, message.what) == ("model.type", "no model is named 'os.system'")
    assert message.hint.startswith("there are ") and message.hint.endswith("; decorate yours with @MODELS.register")


def test_the_longest_message_is_two_lines_long() -> None:
    assert max(len(line) for line in TABLE.splitlines()) < 2 * 120


def test_the_schema_agrees_with_the_table() -> None:
    """It lets everything pass that is right, and rejects what is wrong as far as one file can tell."""
    schema = Draft7Validator(json_schema())
    found: dict[tuple[bool, bool], list[str]] = {}
    for case in cases():
        changes, overrides, messages = case.values
        node = read_yaml(changed(changes), "bad.yaml", [])
        if not overrides and node is not None:
            passes = messages == ["nothing is wrong"] or ": warning" in messages[0]
            key = (passes, schema.is_valid(node.values))
            found.setdefault(key, []).append(case.id)
    assert found.get((True, False), []) == []
    rejected, missed = len(found[False, False]), found[False, True]
    assert rejected > 3 * len(missed), missed
