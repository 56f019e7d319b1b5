"""Nothing that a config or a checkpoint says runs code, or writes outside the places that are meant for writing.

Watched by Python's audit hooks, which see every file opened, every process started and every global that a pickle asks
for, whichever library does it.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from base import evaluate, fit
from base.checkpoint import format as saved_module
from base.checkpoint.store import CheckpointStore
from base.errors import CheckpointError, ConfigError, UserError
from tests.small_run import small_config

ROOT = Path(__file__).resolve().parents[2]
NAMES_CHANGED = {"os.mkdir", "os.rmdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.chmod"}
STARTS = {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.startfile", "pty.spawn", "subprocess.Popen"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Watch:
    """What happened while it was on: files changed, processes started, globals that pickles asked for, ports opened."""

    def __init__(self) -> None:
        self.on = False
        self.changed: set[Path] = set()
        self.ran: list[tuple[str, Any]] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if (event == "open" and args[2] & WRITES) or event == "os.truncate":
            if not isinstance(args[0], int):
                self.changed.add(Path(os.path.realpath(os.fsdecode(args[0]))))
        elif event in NAMES_CHANGED:
            for path in (Path(os.fsdecode(arg)) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)):
                self.changed.add(Path(os.path.realpath(path.parent), path.name))
        elif event == "subprocess.Popen" and args[1][0] == "git":
            pass  # asks for the commit, for environment.json
        elif event in STARTS or event in ("pickle.find_class", "socket.bind"):
            self.ran.append((event, args))

    def outside(self, *places: Path) -> set[Path]:
        own = [place.resolve() for place in (*places, Path("/dev"), Path("/proc"))]
        found = {path for path in self.changed if not any(path.is_relative_to(place) for place in own)}
        return {path for path in found if not {"matplotlib", "__pycache__"} & {*path.parts}}


_watch = Watch()
sys.addaudithook(_watch)  # for good: there is no way to remove one


@pytest.fixture
def watch() -> Iterator[Watch]:
    _watch.__init__()  # type: ignore[misc]
    _watch.on = True
    yield _watch
    _watch.on = False


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "marker"


@pytest.fixture(scope="module")
def trained(garments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs that was stopped, with every kind of file that a run has."""
    config = small_config(
        tmp_path_factory.mktemp("trained"), garments, trainer__tensorboard=True, trainer__ema={"decay": 0.9}
    )
    return fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]}).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, as it came from a stranger: in `saved/`, beside which nothing may change."""
    copy = tmp_path / "saved" / "small" / trained.name
    shutil.copytree(trained, copy)
    change_config(copy, callbacks=[])
    return copy


def change_config(run: Path, **changes: Any) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    for path, value in changes.items():
        *parents, key = path.split("__")
        section = config
        for parent in parents:
            section = section[parent]
        section[key] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def reseal(save: Path, **changes: Any) -> None:
    """What an attacker does: all hashes fit again."""
    manifest = json.loads((save / "manifest.json").read_bytes()) | changes
    for name, entry in manifest["files"].items():
        data = (save / name).read_bytes()
        entry.update(bytes=len(data), hash=hashlib.sha256(data).hexdigest())
    del manifest["sha256"]
    (save / "manifest.json").write_bytes(saved_module._sealed(manifest))


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


def payloads(marker: Path) -> Iterator[bytes]:
    """A pickle, a file of torch, and a YAML that run a command when they are trusted."""
    yield pickle.dumps(Payload(marker))
    file = io.BytesIO()
    torch.save({"state": {"progress": Payload(marker)}, "model": {}}, file)
    yield file.getvalue()
    yield f"!!python/object/apply:os.system ['touch {marker}']\n".encode()


def test_the_payloads_and_the_watch_work(marker: Path, watch: Watch) -> None:
    """Else the tests below show nothing."""
    for data in payloads(marker):
        if data.startswith(b"PK"):
            torch.load(io.BytesIO(data), weights_only=False)
        else:
            pickle.loads(data) if data[:1] == b"\x80" else yaml.unsafe_load(data)
        assert marker.exists()
        marker.unlink()
    assert {event for event, _ in watch.ran} >= {"os.system", "pickle.find_class"}
    assert watch.outside() == {marker.resolve()}


def try_payloads(run: Path, marker: Path, watch: Watch, work: Path, every: bool) -> None:
    """Replaces each file of the run by a payload (by each of them if `every`) and recomputes the hashes. A resume and a
    test must then succeed or raise an error for the user, and execute nothing."""
    watch.on = False
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    assert len(files) > 12, files
    refused = 0
    for i, file in enumerate(files):
        datas = list(payloads(marker))
        for data in datas if every or file.suffix == ".pt" else [datas[i % len(datas)]]:
            copy = work / "saved" / "small" / run.name
            shutil.copytree(run, copy)
            (copy / file).write_bytes(data)
            if (copy / file).parent.parent.name == "checkpoints" and file.name != "manifest.json":
                reseal((copy / file).parent)
            watch.on = True
            for use in (lambda path: evaluate(path, pictures=False), lambda path: fit(resume=path)):
                try:
                    use(copy)
                except UserError:
                    refused += 1
            watch.on = False
            assert not marker.exists(), file
            assert not watch.ran, file
            assert watch.outside(copy) <= {copy}, file
            shutil.rmtree(work)
    assert refused > (20 if every else 5)


def test_a_payload_in_every_file_of_a_run(run: Path, marker: Path, watch: Watch, tmp_path: Path) -> None:
    """The short form of tests/campaigns/payloads.py: every payload in files of torch, one of them in any other file."""
    try_payloads(run, marker, watch, tmp_path / "work", every=False)


@pytest.mark.skipif(sys.platform == "win32", reason="links are for administrators there")
@pytest.mark.parametrize("name", ["metrics.jsonl", "train.log", "lock", "checkpoints", "checkpoints/rejected", "test"])
def test_links_in_a_run_are_not_followed(name: str, run: Path, tmp_path: Path, watch: Watch) -> None:
    """A stranger's run that was unpacked with a link in it: what it points at is neither made nor changed."""
    link, victim = run / name, tmp_path / "victim"
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    for kind in ("nothing", "file", "folder"):
        if kind == "file":
            victim.write_text("precious")
        elif kind == "folder":
            victim.unlink()
            victim.mkdir()
        watch.changed.clear()
        for use in (lambda where: evaluate(where, pictures=False), lambda where: fit(resume=where)):
            with pytest.raises(CheckpointError, match=f"{link.name} is a link"):
                use(run)
        assert not watch.outside(run)
        assert victim.exists() == (kind != "nothing")
        assert kind != "file" or victim.read_text() == "precious"
        assert kind != "folder" or not list(victim.iterdir())


NAMES = [
    "os.system",
    "builtins.eval",
    "builtins.exec",
    "subprocess.run",
    "torch.hub.load",
    "torch.load",
    "importlib.import_module",
    "__import__('os').system('touch {marker}')",
    "../../evil",
    "/{folder}/evil.py",
]
PLACES: dict[str, Callable[[Any], dict[str, Any]]] = {
    "model": lambda one: {"model": one},
    "loss": lambda one: {"loss": one},
    "metric": lambda one: {"metrics": [one]},
    "optimizer": lambda one: {"optimizer": one},
    "schedule": lambda one: {"lr_scheduler": one},
    "dataset": lambda one: {"data__train": one},
    "validation set": lambda one: {"data__valid": {"odd": one}},
    "transform": lambda one: {"data__transform__train": [one]},
    "target transform": lambda one: {"data__target_transform": one},
    "sampler": lambda one: {"data__loader__sampler": one},
    "collate_fn": lambda one: {"data__loader__collate_fn": one},
    "worker_init_fn": lambda one: {"data__loader__worker_init_fn": one},
    "callback": lambda one: {"callbacks": [one]},
    "trainer": lambda one: {"trainer__type": one["type"], "trainer__args": one["args"]},
    "function as argument": lambda one: {
        "data__transform__train": [{"type": "Lambda", "args": {"lambd": one["type"]}}]
    },
    "function of a schedule": lambda one: {"lr_scheduler": {"type": "LambdaLR", "args": {"lr_lambda": one["type"]}}},
    "loader of a dataset": lambda one: {
        "data__train": {"type": "DatasetFolder", "args": {"root": "data", "loader": one["type"]}}
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_names_of_code_are_names_of_nothing(
    place: str, garments: Path, run: Path, marker: Path, tmp_path: Path, watch: Watch
) -> None:
    at = PLACES[place]
    for name in NAMES:
        name = name.format(marker=marker, folder=tmp_path)
        changes = at({"type": name, "args": {"command": f"touch {marker}"}})
        config = small_config(tmp_path, garments, **changes)
        change_config(run, **changes)
        watch.changed.clear()
        with pytest.raises(ConfigError):
            fit(config)
        with pytest.raises(ConfigError):
            fit(resume=run)
        with contextlib.suppress(UserError):  # builds neither optimizer nor schedule
            evaluate(run, pictures=False)
        assert not watch.ran and not watch.outside(run)
    assert not marker.exists()


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['touch {marker}']",
        "!!python/object/new:os.system ['touch {marker}']",
        "!!python/name:os.system",
        "!!python/module:evil",
        "!!python/object/apply:subprocess.Popen [[touch, {marker}]]",
        "{{a: &a [x, x, x, x, x, x, x, x, x], b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a], "
        "c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b], d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c], "
        "e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d], f: [*e, *e, *e, *e, *e, *e, *e, *e, *e]}}",
        "&a [*a]",
    ],
)
def test_tags_and_bombs_in_yaml(
    text: str, garments: Path, run: Path, marker: Path, tmp_path: Path, watch: Watch
) -> None:
    text = text.format(marker=marker)
    config = small_config(tmp_path, garments)
    bad = tmp_path / "bad.yaml"
    bad.write_text(config.read_text() + f"\nproject: {text}\n")
    (run / "config.yaml").write_text((run / "config.yaml").read_text().replace("project: {}", f"project: {text}"))
    watch.changed.clear()
    for use in (
        lambda: fit(bad),
        lambda: fit(config, [f"project={text}"]),
        lambda: fit(resume=run),
        lambda: evaluate(run, pictures=False),
    ):
        with pytest.raises(ConfigError):
            use()
    assert not watch.ran and not watch.outside()
    assert not marker.exists()


@pytest.mark.parametrize(
    "name", ["../../up", "..", "/abs", "a/b", "a\\b", ".hidden", "-flag", "a b", "nul\0", "line\nbreak", ""]
)
def test_a_name_is_no_path(name: str, garments: Path, run: Path, tmp_path: Path, watch: Watch) -> None:
    config = small_config(tmp_path, garments, name=name)
    change_config(run, name=name)
    watch.changed.clear()
    for use in (lambda: fit(config), lambda: fit(resume=run), lambda: evaluate(run, pictures=False)):
        with pytest.raises(ConfigError):
            use()
    assert not watch.outside()


def test_a_run_writes_below_save_dir_only(garments: Path, tmp_path: Path, watch: Watch) -> None:
    config = small_config(tmp_path, garments, trainer__tensorboard=True)
    watch.changed.clear()
    run = fit(config)
    evaluate(run.path, pictures=False)
    assert not watch.outside(tmp_path / "saved")
    assert not watch.ran


def test_a_resumed_run_writes_into_its_own_folder_only(run: Path, tmp_path: Path, watch: Watch) -> None:
    """Whatever folders its config names: those are a stranger's wish."""
    change_config(run, trainer__save_dir=str(tmp_path / "elsewhere"), name="other")
    watch.changed.clear()
    assert fit(resume=run, force=True).reason == "finished"
    evaluate(run, pictures=False)
    assert not watch.outside(run)


@pytest.mark.parametrize("saves", ["as they were", "silent about the data", "none"])
@pytest.mark.parametrize("type_", ["FashionMNIST", "SyntheticFashion", "KMNIST"])
def test_a_resumed_run_makes_no_data_outside(
    type_: str, saves: str, run: Path, tmp_path: Path, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder for data is made, and filled, where the user's own config says so, not where a stranger's does."""
    monkeypatch.setattr("data_loader.synthetic.fashion.TRAIN_SIZE", 1000)
    monkeypatch.setattr("data_loader.synthetic.fashion.TEST_SIZE", 1000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if saves == "none":
        shutil.rmtree(run / "checkpoints")
    elif saves == "silent about the data":
        for save in (run / "checkpoints").glob("*-step-*"):
            reseal(save, data={})
    root = tmp_path / "victim"
    args = {"root": str(root), **({} if type_ == "SyntheticFashion" else {"download": True})}
    change_config(run, data__train={"type": type_, "args": args}, data__offline="synthetic")
    watch.changed.clear()
    for use in (lambda: fit(resume=run), lambda: evaluate(run, pictures=False)):
        with contextlib.suppress(UserError, KeyError):
            use()
    assert not root.exists()
    assert not watch.outside(run, tmp_path / "cache")


def test_a_set_to_test_is_no_path(run: Path, watch: Watch) -> None:
    with pytest.raises(ConfigError):
        evaluate(run, "../../../victim", pictures=False)
    assert not watch.outside()


@pytest.fixture
def evil(tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable module that leaves a trace when it is imported."""
    (tmp_path / "evil_plugin.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "evil_plugin"


def test_plugins_that_the_project_does_not_allow(
    evil: str, garments: Path, run: Path, marker: Path, tmp_path: Path
) -> None:
    config = small_config(tmp_path, garments, plugins=[evil])
    change_config(run, plugins=[evil])
    for use in (lambda: fit(config), lambda: fit(resume=run), lambda: evaluate(run, pictures=False)):
        with pytest.raises(ConfigError, match="'evil_plugin' is not allowed here"):
            use()
    assert not marker.exists() and evil not in sys.modules


def test_a_plugin_that_the_command_line_allows(evil: str, garments: Path, marker: Path, tmp_path: Path) -> None:
    """Else the test above shows nothing."""
    config = small_config(tmp_path, garments, plugins=[evil], trainer__epochs=1)
    try:
        fit(config, plugins=[evil])
        assert marker.exists()
    finally:
        sys.modules.pop(evil, None)


def test_weights_are_read_without_the_rest(run: Path, marker: Path) -> None:
    """What test.py and strangers read: model.safetensors alone."""
    (save,) = (run / "checkpoints").glob("*-step-00000006")
    (save / "state.pt").write_bytes(next(payloads(marker)))
    reseal(save)
    assert evaluate(save, pictures=False)["loss"] > 0
    with pytest.raises(CheckpointError, match="refused as untrusted"):
        fit(resume=run)
    assert CheckpointStore(run / "checkpoints").names()[-1] == save.name
    assert not marker.exists()


def test_tensorboard_is_never_started() -> None:
    """It is left to the user, who alone says which hosts may see it."""
    own = (ROOT / "base" / "manifest.txt").read_text().split()
    for name in own:
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {m for m in modules if m in ("tensorboard", "tensorboard.program", "tensorboard.main")}, name
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("subprocess."):
                asks_git = name == "utils/environment.py"
                assert asks_git and '"git"' in (ROOT / name).read_text(), name
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in ("os.system", "os.popen")), name
