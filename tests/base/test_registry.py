"""From a name to a definition: files found by parsing, shadowing, adoption by kind, plugins."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from torch import nn

from base import LOSSES, METRICS, MODELS, OPTIMIZERS, SCHEDULERS, discovery, registry
from base.registry import BrokenFile, Registry, UnknownName

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty project whose files are indexed and imported."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "manifest.txt").write_text("model/own.py\n")
    for folder in discovery.FOLDERS:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
    for module in (discovery, registry):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [m for m in sys.modules if m.split(".")[0] in discovery.FOLDERS]:
        monkeypatch.delitem(sys.modules, name)
    registry.index.cache_clear()
    yield tmp_path
    for name in [m for m in sys.modules if m.split(".")[0] in discovery.FOLDERS]:
        del sys.modules[name]
    registry.index.cache_clear()


def write(project: Path, name: str, text: str) -> None:
    (project / name).write_text(text)
    registry.index.cache_clear()


def fresh(symbol: str, **options: object) -> Registry:
    return Registry(symbol, symbol.lower().rstrip("s"), **options)  # type: ignore[arg-type]


def test_only_the_file_that_defines_the_name_is_imported(project: Path) -> None:
    write(project, "model/one.py", "class One(BaseModel): pass\nraise SystemExit('imported without need')\n")
    write(project, "model/two.py", "class BaseModel: pass\nclass Two(BaseModel): pass\n")
    assert fresh("MODELS").get("Two").__name__ == "Two"
    assert "model.one" not in sys.modules


def test_what_registers_without_a_decorator(project: Path) -> None:
    write(
        project,
        "model/nets.py",
        "from abc import ABC, abstractmethod\nclass Middle(BaseModel):\n    @abstractmethod\n    def f(self): ...\n"
        "class Net(Middle): pass\nclass _Hidden(BaseModel): pass\n"
        "class Other(Thing): pass\nclass Root(BaseModel, ABC): pass\n",
    )
    write(
        project,
        "model/loss.py",
        "from torch.nn.functional import nll_loss\ndef mine(output, target): ...\ndef _no(): ...\n",
    )
    write(project, "model/metric.py", "def top(output, target): ...\n")
    write(project, "data_loader/open_datasets.py", "class Rows(Dataset): pass\n")
    assert registry.index().own == {} and set(registry.index().users) == {
        ("MODELS", "Net"),
        ("LOSSES", "mine"),
        ("METRICS", "top"),
        ("DATASETS", "Rows"),
    }


def test_a_file_that_does_not_parse_harms_nobody_who_does_not_need_it(project: Path) -> None:
    write(project, "model/broken.py", "class Half(:\n")
    write(project, "model/whole.py", "class BaseModel: pass\nclass Whole(BaseModel): pass\n")
    models = fresh("MODELS")
    assert models.get("Whole")
    with pytest.raises(UnknownName) as caught:
        models.get("Half")
    assert list(caught.value.broken) == ["model/broken.py"] and "line 1" in caught.value.broken["model/broken.py"]


def test_a_file_that_does_not_import_is_named_with_its_line(project: Path) -> None:
    write(project, "model/late.py", "import torch\n\nimport no_such_library\n\nclass Late(BaseModel): pass\n")
    with pytest.raises(BrokenFile, match=r"model/late.py:\d+: cannot be imported: .*no_such_library"):
        fresh("MODELS").get("Late")


def test_a_users_name_stands_before_the_frameworks_with_one_line(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for name in ("own", "mine"):
        write(project, f"model/{name}.py", f"class BaseModel: pass\nclass Net(BaseModel): where = '{name}'\n")
    text = "from base.registry import MODELS\n@MODELS.register\nclass Net: where = 'own'\n"
    write(project, "model/own.py", text)
    models = fresh("MODELS")
    assert models.get("Net").where == "mine" == models.get("Net").where
    assert [r.getMessage() for r in caplog.records] == ["model Net: model/mine.py:2 replaces the framework's own"]


def test_two_of_the_users_definitions_are_an_error_when_asked_for(project: Path) -> None:
    for name in ("a", "b"):
        write(project, f"model/{name}.py", "class BaseModel: pass\nclass Net(BaseModel): pass\n")
    with pytest.raises(BrokenFile, match=r"'Net': model/a.py:2 and model/b.py:2"):
        fresh("MODELS").get("Net")


def test_running_the_same_definition_again_replaces_it() -> None:
    models = fresh("MODELS")
    for width in (1, 2):
        models.register(type("Net", (nn.Module,), {"width": width, "__module__": "__main__"}))
    assert models.get("Net").width == 2


def test_libraries_are_adopted_by_kind_not_by_being_importable() -> None:
    assert LOSSES.get("CrossEntropyLoss") is nn.CrossEntropyLoss
    assert OPTIMIZERS.get("SGD") and SCHEDULERS.get("OneCycleLR")
    for table, name in (
        (LOSSES, "Linear"), (LOSSES, "cross_entropy"), (LOSSES, "os.system"), (OPTIMIZERS, "Optimizer"),
        (SCHEDULERS, "LRScheduler"), (MODELS, "torch.hub.load"), (METRICS, "eval"),
    ):  # fmt: skip
        with pytest.raises(UnknownName):
            table.get(name)


def test_every_adopted_name_is_found_by_it() -> None:
    for table in (LOSSES, OPTIMIZERS, SCHEDULERS, MODELS):
        assert len(table.names()) > 10
        assert all(callable(table.get(name)) for name in table.names())


def test_torchvisions_builders_take_no_weights_from_a_config() -> None:
    import inspect

    builder = MODELS.get("resnet18")
    assert "weights" not in inspect.signature(builder).parameters
    assert builder(num_classes=3).fc.out_features == 3


def test_plugins_are_what_the_project_allows(project: Path) -> None:
    (project / "pyproject.toml").write_text('[tool.torch_atelier]\nplugins = ["lent"]\n')
    assert discovery.allowed_plugins().get("lent") == "lent"
    assert "os" not in discovery.allowed_plugins() and discovery.allowed_plugins(["os"])["os"] == "os"


def test_the_packages_cost_no_torch() -> None:
    packages = "model, data_loader, trainer, logger"
    code = f"import sys, {packages}; from base import Config, MODELS; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout == "False\n"
