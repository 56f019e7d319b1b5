"""A save whose hashes fit and whose content does not: refused in one line that says what, before anything is loaded."""

from __future__ import annotations

import copy
import math
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from base import cli, evaluate, fit
from base.checkpoint.component_values import same
from base.checkpoint.expected import Unfit
from base.checkpoint.verify_optimizers import check_optimizer
from base.errors import CheckpointError
from tests.base.test_saved import reseal
from tests.small_run import rows, small_config

Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture(scope="module")
def trained(garments: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with every kind of state, stopped inside its second epoch."""
    config = small_config(
        tmp_path_factory.mktemp("trained"),
        garments,
        optimizer={"type": "Adam", "args": {"lr": 0.01}},
        lr_scheduler=[
            {"type": "LinearLR", "args": {"start_factor": 0.1, "total_iters": 3}, "every": "step", "steps": 3},
            {"type": "CosineAnnealingLR", "args": {"T_max": 3}},
        ],
        metrics=["accuracy", "f1"],
        trainer__ema={"decay": 0.9},
    )
    return fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]}).path


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def newest(run: Path) -> Path:
    return max((run / "checkpoints").glob("*-step-*"))


def tamper(run: Path, edit: Edit) -> None:
    """Changes the state of the newest save and seals it again."""
    path = newest(run) / "state.pt"
    state = torch.load(path, weights_only=True)
    edit(state["state"])
    with warnings.catch_warnings(action="ignore"):  # some tensors are of kinds that are on their way out
        torch.save(state, path)
    reseal(path.parent)


def refusal(run: Path) -> str:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError) as caught:
        fit(resume=run, overrides={"callbacks": []})
    text = str(caught.value)
    assert "\n" not in text and text.startswith(str(newest(run)))
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }
    return text


def test_what_is_sealed_again_and_not_changed_is_taken(run: Path) -> None:
    """Else the tests below show nothing."""
    tamper(run, lambda state: None)
    assert fit(resume=run, overrides={"callbacks": []}).reason == "finished"
    assert [row for row in rows_of(run) if "end" in row] == [{"end": "finished"}]


def rows_of(run: Path) -> list[dict[str, Any]]:
    class Finished:
        path = run

    return rows(Finished)  # type: ignore[arg-type]


def moments(state: dict[str, Any]) -> dict[str, Any]:
    return state["optimizers"]["optimizer"]["state"][0]  # type: ignore[no-any-return]


def group(state: dict[str, Any]) -> dict[str, Any]:
    return state["optimizers"]["optimizer"]["param_groups"][0]  # type: ignore[no-any-return]


def scheduler(state: dict[str, Any]) -> dict[str, Any]:
    return state["schedules"]["optimizer"]["scheduler"]  # type: ignore[no-any-return]


def rng(state: dict[str, Any]) -> dict[str, Any]:
    return state["ranks"][0]["generators"]  # type: ignore[no-any-return]


def component(state: dict[str, Any], **parts: Any) -> None:
    state["components"]["losses.loss"] = parts


def form(**changes: Any) -> dict[str, Any]:
    return {"shape": [2], "dtype": torch.float32, "learns": True, "buffer": False, **changes}


def generator(**changes: Any) -> dict[str, Any]:
    words = {"key": torch.zeros(624, dtype=torch.uint32), "pos": 3, **changes}
    return {"generator": {"numpy": {"bit_generator": "MT19937", "state": words}}}


def giant() -> torch.Tensor:
    at = torch.zeros(1, 1, dtype=torch.long)
    return torch.sparse_coo_tensor(at, [1.0], (10**12,), check_invariants=True)


def quantized() -> torch.Tensor:
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_tensor(WHOLE, 0.1, 0, torch.qint8)


ONE = torch.zeros(1)
WHOLE = torch.zeros(16, 784)
STATE_EDITS: list[tuple[Edit, str]] = [
    # tensors of optimizers
    (lambda s: moments(s).update(exp_avg=ONE), "['exp_avg']: found float32 (1,), expected float32 (16, 784)"),
    (lambda s: moments(s).update(exp_avg=torch.zeros(())), "found float32 (), expected float32 (16, 784)"),
    (lambda s: moments(s).update(exp_avg_sq=WHOLE.T), "found float32 (784, 16), expected float32 (16, 784)"),
    (lambda s: moments(s).update(exp_avg=WHOLE.double()), "found float64 (16, 784), expected float32 (16, 784)"),
    (lambda s: moments(s).update(exp_avg=WHOLE.long()), "found int64 (16, 784)"),
    (lambda s: moments(s).update(exp_avg=WHOLE.to_sparse()), "expected a dense tensor"),
    (lambda s: moments(s).update(exp_avg=ONE.expand(16, 784)), "expected a dense tensor"),
    (lambda s: moments(s).update(exp_avg=quantized()), "expected a dense tensor"),
    (lambda s: moments(s).update(exp_avg=torch.zeros(16, 784, device="meta")), "expected a dense tensor"),
    (lambda s: moments(s).update(exp_avg=[0.0]), "['exp_avg']: found a list of 1"),
    (lambda s: moments(s).update(exp_avg=None), "['exp_avg']: found None"),
    (lambda s: moments(s).pop("exp_avg"), "found no 'exp_avg'"),
    (lambda s: moments(s).update(step=torch.tensor(-1.0)), "['step']: found -1.0, expected a finite number from 0"),
    (lambda s: moments(s).update(step=torch.tensor(math.nan)), "['step']: found nan"),
    (lambda s: moments(s).update(step=6), "['step']: found 6, expected float32 ()"),
    (lambda s: moments(s).update(step=torch.ones(16, 784)), "['step']: found float32 (16, 784), expected float32 ()"),
    (lambda s: s["optimizers"]["optimizer"]["state"].update({99: {}}), ".state[99]: found a dict of 0"),
    (lambda s: s["optimizers"]["optimizer"]["state"].update({0: [1]}), ".state[0]: found a list of 1"),
    (lambda s: s["optimizers"]["optimizer"].update(state=[]), ".state: found a list of 0, expected a dict"),
    # their groups
    (
        lambda s: s["optimizers"]["optimizer"]["param_groups"].append(dict(group(s))),
        "found a list of 2, expected a lis",
    ),
    (lambda s: s["optimizers"]["optimizer"].update(param_groups={}), ".param_groups: found a dict of 0"),
    (lambda s: group(s).update(params=[0, 0, 1, 2]), "['params']"),
    (lambda s: group(s).pop("betas"), "param_groups[0]: found no 'betas'"),
    (lambda s: group(s).update(betas=[0.9]), "['betas']"),
    (lambda s: group(s).update(lr="0.1"), "['lr']: found '0.1', expected a finite number from 0"),
    (lambda s: group(s).update(lr=-1.0), "['lr']: found -1.0"),
    (lambda s: group(s).update(lr=math.nan), "['lr']: found nan"),
    (lambda s: group(s).update(capturable=True), "['capturable']: found True, expected False"),
    (lambda s: s["optimizers"].pop("optimizer"), "optimizers: found no 'optimizer'"),
    (lambda s: s["optimizers"].update(other={}), "optimizers: found an unknown 'other'"),
    (lambda s: s.pop("optimizers"), "the state: found no 'optimizers'"),
    (lambda s: s.update(optimizers=[]), "optimizers: found a list of 0, expected a dict"),
    # where the run stands
    (lambda s: s["progress"].update(step=-6), "progress['step']: found -6, expected a whole number from 0"),
    (lambda s: s["progress"].update(step=7), "progress['step']: found 7, expected 6, as in manifest.json"),
    (lambda s: s["progress"].update(step=True), "progress['step']: found True"),
    (lambda s: s["progress"].update(step="6"), "progress['step']: found '6'"),
    (lambda s: s["progress"].update(epoch=10**30), "progress['epoch']: found 1000000000000000000000000000000"),
    (lambda s: s["progress"].update(epoch_step=-1), "progress['epoch_step']: found -1"),
    (lambda s: s["progress"].update(epoch_step=10**9), "progress['epoch_step']: found 1000000000"),
    (lambda s: s["progress"].update(pass_=10**9), "progress['pass_']: found 1000000000"),
    (
        lambda s: s["progress"].update(batch=10**9),
        "progress['batch']: found 1000000000, expected a whole number from 0",
    ),
    (lambda s: s["progress"].update(batch=2.0), "progress['batch']: found 2.0"),
    (lambda s: s["progress"].update(phase="rest"), "progress['phase']: found 'rest', expected 'train', 'evaluate'"),
    (lambda s: s["progress"].update(seconds=math.nan), "progress['seconds']: found nan"),
    (lambda s: s["progress"].update(next_epoch=1), "progress: found an unknown 'next_epoch'"),
    (lambda s: s["progress"].pop("epoch"), "progress: found no 'epoch'"),
    (lambda s: s.update(progress=[1, 2]), "progress: found a list of 2, expected a dict"),
    # schedules
    (lambda s: s["schedules"]["optimizer"].update(current=7), "['current']: found 7, expected a whole number from 0"),
    (lambda s: s["schedules"]["optimizer"].update(done=-1), "['done']: found -1"),
    (lambda s: s["schedules"]["optimizer"].update(scheduler=None), "['scheduler']: found None, expected a dict"),
    (lambda s: scheduler(s).update(last_epoch=-5), "['last_epoch']: found -5"),
    (lambda s: scheduler(s).update(last_epoch=math.nan), "['last_epoch']: found nan"),
    (lambda s: scheduler(s).update(last_epoch="1"), "['last_epoch']: found '1'"),
    (lambda s: scheduler(s).pop("last_epoch"), "found no 'last_epoch'"),
    (lambda s: scheduler(s).update(base_lrs=[0.1, 0.1]), "['base_lrs']: found a list of 2, expected a list of 1"),
    (lambda s: scheduler(s).update(step=1), "['step']: found 1, expected no method's name"),
    # the rest
    (lambda s: s["averaged"].update(model=-1), "averaged['model']: found -1"),
    (lambda s: s["averaged"].clear(), "averaged: found no 'model'"),
    (lambda s: s["precision"].update(scale=1.0), "precision: found an unknown 'scale'"),
    (lambda s: s["monitor"].update(best=math.nan), "monitor['best']: found nan"),
    (lambda s: s["monitor"].update(best="low"), "monitor['best']: found 'low'"),
    (lambda s: s["monitor"].update(waited=-1), "monitor['waited']: found -1"),
    (lambda s: s["monitor"].update(waited=10**6), "monitor['waited']: found 1000000"),
    (lambda s: s["guard"].update(skipped=False), "guard['skipped']: found False"),
    (lambda s: s["guard"].update(exempt=3), "guard['exempt']: found 3"),
    (lambda s: s["losses"].update(samples=-1), "losses['samples']: found -1"),
    (lambda s: s["losses"].update(parts="loss"), "losses['parts']: found 'loss', expected a list"),
    (lambda s: s["losses"].update(means=None), "losses['means']: found None"),
    (lambda s: s["losses"]["means"]["loss"].update(sum=torch.zeros(3)), "['loss']['sum']: found float32 (3,)"),
    (lambda s: s["losses"]["means"]["loss"].update(count=-1), "['loss']['count']: found -1"),
    (lambda s: s["losses"]["means"]["loss"].update(count=math.inf), "['loss']['count']: found inf"),
    (lambda s: s["losses"]["means"]["loss"].pop("logged_sum"), "['means']['loss']: found no 'logged_sum'"),
    (lambda s: s["metrics"]["metrics"].pop("f1"), "metrics: found no 'f1'"),
    (lambda s: s["metrics"]["metrics"].update(accuracy=3), "metrics['accuracy']: found 3, expected a dict"),
    (lambda s: s["metrics"]["metrics"]["accuracy"].update(count="9"), "['count']: found '9'"),
    (lambda s: s["metrics"]["metrics"]["accuracy"].update(update=9), "['update']: found 9, expected no method's name"),
    (lambda s: s["metrics"]["block"].append([ONE]), "metrics['block']["),
    (lambda s: s["metrics"]["metrics"]["accuracy"].update(count=-1), "['count']: found -1"),
    # components
    (lambda s: s.update(components=[]), "components: found a list of 0, expected a dict"),
    (lambda s: s["components"].update({"losses.loss": 3}), "components['losses.loss']: found 3, expected a dict"),
    (lambda s: s["components"].update(other={}), "components['other']: found a dict of 0, expected a component of"),
    (lambda s: s["components"].update({7: {}}), "components[7]: found a dict of 0, expected a component of"),
    (lambda s: component(s, other={}), "components['losses.loss']: found an unknown 'other'"),
    (lambda s: component(s, state_dict=[]), "['state_dict']: found a list of 0, expected a dict"),
    (lambda s: component(s, state_dict={"weight": ONE}), "['state_dict']: found an unknown 'weight'"),
    (lambda s: component(s, attributes=[1]), "['attributes']: found a list of 1, expected a dict"),
    (lambda s: component(s, attributes={"forward": 1}), "['forward']: found 1, expected no method's name"),
    (lambda s: component(s, attributes={3: 1}), "['attributes']: found 3, expected names of attributes"),
    (lambda s: component(s, attributes={"x": [1]}), "['x']: found a list of 1, expected a value as a save holds it"),
    (lambda s: component(s, attributes={"x": {}}), "['x']: found a dict of 0, expected a dict of one of"),
    (
        lambda s: component(s, attributes={"x": {"code": "print"}}),
        "['x']: found a dict of 1, expected a dict of one of",
    ),
    (lambda s: component(s, attributes={"x": {"object": "sys"}}), "['x']['object']: found 'sys', expected the path"),
    (lambda s: component(s, attributes={"x": {"list": 3}}), "['x']['list']: found 3, expected a list"),
    (lambda s: component(s, attributes={"x": {"array": [1]}}), "['x']['array']: found a list of 1, expected a Tensor"),
    (lambda s: component(s, attributes={"x": {"pairs": [1]}}), "['x']['pairs']: found 1, expected a key and a value"),
    (lambda s: component(s, attributes={"x": {"deque": [-1, []]}}), "['x']['deque']: found a list of 2"),
    (lambda s: component(s, attributes={"x": {"generator": {}}}), "expected the state of a generator"),
    (
        lambda s: component(s, attributes={"x": generator(pos=625)}),
        "['pos']: found 625, expected a whole number from 0",
    ),
    (lambda s: component(s, attributes={"x": generator(pos=-1)}), "['pos']: found -1"),
    (
        lambda s: component(s, attributes={"x": generator(key=ONE)}),
        "['key']: found float32 (1,), expected uint32 (624,)",
    ),
    (lambda s: component(s, attributes={"reduction": 3}), "['reduction']: found 3, expected 'mean'"),
    (lambda s: component(s, attributes={"x": WHOLE.to_sparse()}), "expected a dense tensor"),
    (lambda s: component(s, attributes={"x": ONE.expand(10**12)}), "expected a dense tensor"),
    (lambda s: component(s, attributes={"x": giant()}), "expected a dense tensor"),
    (lambda s: component(s, added={"w": form(shape=[10**12])}), "['added']['w']: found a dict of 4, expected a shape"),
    (lambda s: component(s, added={"w": form(shape=[-1])}), "['added']['w']: found a dict of 4, expected a shape"),
    (lambda s: component(s, added={"w": form(shape=3)}), "['added']['w']: found a dict of 4, expected a shape"),
    (lambda s: component(s, added={"forward": form()}), "['added']['forward']: found a dict of 4, expected a shape"),
    (lambda s: component(s, added={"w": 3}), "['added']['w']: found 3, expected a dict"),
    (lambda s: s["components"].update({"optimizers.optimizer": {}}), "found no 'added'"),
    (
        lambda s: s["components"].update({"optimizers.optimizer": {"added": [["models.model.none"]]}}),
        "expected the paths of parameters of this run",
    ),
    # what was learned from data, the config, and processes
    (lambda s: s["learned"].update(split=None), "learned['split']: found None, expected a dict"),
    (lambda s: s["learned"]["split"].update(train=ONE), "learned['split']['train']: found float32 (1,)"),
    (lambda s: s["learned"]["split"].update(train=ONE.long() - 1), "learned['split']['train']: found int64 (1,)"),
    (lambda s: s.update(config=[]), "config: found a list of 0, expected a dict"),
    (lambda s: s.update(ranks=[]), "ranks: found a list of 0, expected a list of 1"),
    (lambda s: s.update(ranks={}), "ranks: found a dict of 0, expected a list of 1"),
    (lambda s: s["ranks"].append(s["ranks"][0]), "ranks: found a list of 2, expected a list of 1"),
    (lambda s: s["ranks"][0].update(threads=0), "ranks[0]['threads']: found 0"),
    (lambda s: s["ranks"][0].pop("generators"), "ranks[0]: found no 'generators'"),
    (lambda s: rng(s)["numpy"].update(position=10**6), "['generators']['numpy']['position']: found 1000000"),
    (lambda s: rng(s).update(torch=torch.zeros(3, dtype=torch.uint8)), "['generators']['torch']: found uint8 (3,)"),
    (lambda s: rng(s)["python"].update(gauss="x"), "['generators']['python']['gauss']: found 'x'"),
    (lambda s: rng(s)["torch"].zero_(), "cannot be restored: RuntimeError"),
    (lambda s: s["logs"].update({"metrics.jsonl": -1}), "logs['metrics.jsonl']: found -1"),
    (lambda s: s.update(logs=None), "logs: found None, expected a dict"),
]


@pytest.mark.parametrize(("edit", "text"), STATE_EDITS)
def test_a_state_that_makes_no_sense_is_refused(edit: Edit, text: str, run: Path) -> None:
    tamper(run, edit)
    assert text in refusal(run)


def weights(run: Path, file: str, edit: Edit) -> None:
    path = newest(run) / file
    with safe_open(path, "pt") as opened:
        metadata, tensors = opened.metadata(), {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    edit(tensors)
    save_file(tensors, path, metadata)
    reseal(path.parent)


@pytest.mark.parametrize("file", ["model.safetensors", "raw.safetensors"])
@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (
            lambda w: w.update({"layers.0.weight": ONE}),
            "layers.0.weight: found float32 (1,), expected float32 (16, 784)",
        ),
        (lambda w: w.update({"layers.0.weight": WHOLE.half()}), "found float16 (16, 784), expected float32 (16, 784)"),
        (lambda w: w.update({"layers.0.weight": WHOLE.long()}), "found int64 (16, 784), expected float32 (16, 784)"),
        (lambda w: w.pop("layers.0.weight"), "the weights: found no 'layers.0.weight'"),
        (lambda w: w.update(other=ONE), "the weights: found an unknown 'other'"),
    ],
)
def test_weights_that_do_not_fit_are_refused(file: str, edit: Edit, text: str, run: Path) -> None:
    weights(run, file, edit)
    assert text in refusal(run)
    if file == "model.safetensors":
        with pytest.raises(CheckpointError) as caught:
            evaluate(newest(run), pictures=False)
        assert text in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (lambda m: m.update(epoch=0), "epoch: found 0, expected a whole number from 1"),
        (lambda m: m.update(epoch="2"), "epoch: found '2'"),
        (lambda m: m.update(data=[]), "data: found a list of 0, expected a dict"),
        (lambda m: m["data"].pop("fingerprint"), "data: found no 'fingerprint'"),
        (lambda m: m["data"].update(in_memory=3), "data['in_memory']: found 3, expected a dict"),
        (
            lambda m: m["raw"].remove(m["files"].pop("raw.safetensors") and "raw.safetensors"),
            "files: found a list of 2, expected those with raw.safetensors",
        ),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(edit: Edit, text: str, run: Path) -> None:
    def edited(manifest: dict[str, Any]) -> None:
        edit(manifest)
        if "raw.safetensors" not in manifest["files"]:
            (newest(run) / "raw.safetensors").unlink()

    reseal(newest(run), edited)
    assert f"manifest.json: {text}" in refusal(run)


def test_the_command_ends_with_three_and_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tamper(run, lambda state: moments(state).update(exp_avg=ONE))
    assert cli.train(["-r", str(run), "trainer.verbosity=0", "callbacks=[]"]) == 3
    error = capsys.readouterr().err
    assert error == (
        f"{newest(run) / 'state.pt'}: optimizers['optimizer'].state[0]['exp_avg']: found float32 (1,), "
        "expected float32 (16, 784); resume from another checkpoint\n"
    )


class LearnsRows(torch.optim.Optimizer):
    """A user's: a row's mean for each matrix, a history that grows, and a number that belongs to no parameter."""

    def __init__(self, params: Any, lr: float = 0.1) -> None:
        self.calls: list[int] = []
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.calls.append(1)
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                state["step"] = state.get("step", 0) + 1
                state["rows"] = parameter.grad.flatten(1).mean(1) if parameter.dim() > 1 else None
                state["history"] = torch.cat([state.get("history", torch.zeros(0)), parameter.grad.norm()[None]])
                state["moment"] = parameter.grad.clone()
                parameter -= group["lr"] * state["moment"]
        self.state["all"] = torch.ones(3)  # type: ignore[index]


OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "SGD, momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "Adam": torch.optim.Adam,
    "Adam, amsgrad": lambda p: torch.optim.Adam(p, amsgrad=True),
    "Adam, fused": lambda p: torch.optim.Adam(p, fused=True),
    "AdamW": torch.optim.AdamW,
    "Adamax": torch.optim.Adamax,
    "NAdam": torch.optim.NAdam,
    "RAdam": torch.optim.RAdam,
    "Adadelta": torch.optim.Adadelta,
    "Adagrad": torch.optim.Adagrad,
    "Adafactor": torch.optim.Adafactor,
    "ASGD": torch.optim.ASGD,
    "RMSprop": lambda p: torch.optim.RMSprop(p, centered=True, momentum=0.9),
    "Rprop": torch.optim.Rprop,
    "Muon": lambda p: torch.optim.Muon([matrix for matrix in p if matrix.dim() == 2]),
    "LBFGS": torch.optim.LBFGS,
    "a user's": LearnsRows,
}


def stepped(make: Callable[[Any], torch.optim.Optimizer], steps: int) -> torch.optim.Optimizer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Flatten(), nn.Linear(3, 2))
    optimizer = make(model.parameters())

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = model(torch.ones(5, 4)).square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        closure()
        optimizer.step(closure if isinstance(optimizer, torch.optim.LBFGS) else None)  # type: ignore[arg-type]
    return optimizer


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_state_of_every_optimizer_is_taken(name: str, steps: int) -> None:
    fresh = stepped(OPTIMIZERS[name], 0)
    before = copy.deepcopy(fresh.state_dict())
    check_optimizer(fresh, stepped(OPTIMIZERS[name], steps).state_dict(), "it")
    assert same(fresh.state_dict(), before)
    assert not getattr(fresh, "calls", [])


@pytest.mark.parametrize("name", [name for name in OPTIMIZERS if name not in ("SGD", "LBFGS")])
def test_no_optimizer_takes_a_state_of_another_form(name: str) -> None:
    """Each tensor that is as large as its parameter or a single number, in another shape and another dtype."""
    fresh, spoiled = stepped(OPTIMIZERS[name], 0), 0
    for forged in (ONE, torch.zeros(()), torch.zeros(3, 4, dtype=torch.int32), torch.zeros(3, 4).double(), "text"):
        state = stepped(OPTIMIZERS[name], 2).state_dict()
        for key, there in state["state"][0].items():
            odd = key in ("rows", "history") or (isinstance(there, torch.Tensor) and same_form(there, forged))
            if not odd:
                with pytest.raises(Unfit, match=rf"it\.state\[0\]\['{key}'\]: found "):
                    check_optimizer(fresh, {**state, "state": {0: {**state["state"][0], key: forged}}}, "it")
                spoiled += 1
    assert spoiled >= 4


def same_form(one: torch.Tensor, other: Any) -> bool:
    return isinstance(other, torch.Tensor) and one.shape == other.shape and one.dtype == other.dtype


def test_an_optimizer_of_sparse_gradients() -> None:
    def made(steps: int) -> torch.optim.Optimizer:
        table = nn.Embedding(5, 2, sparse=True)
        optimizer = torch.optim.SparseAdam(table.parameters())
        for _ in range(steps):
            table(torch.tensor([1])).sum().backward()
            optimizer.step()
        return optimizer

    state = made(2).state_dict()
    check_optimizer(made(0), state, "it")
    state["state"][0]["exp_avg"] = ONE
    with pytest.raises(Unfit, match=r"found float32 \(1,\), expected float32 \(5, 2\)"):
        check_optimizer(made(0), state, "it")


@pytest.mark.parametrize("name", ["precision", "scale"])
def test_fp16_is_taken_and_its_scale_looked_at(name: str, garments: Path, tmp_path: Path) -> None:
    config = small_config(tmp_path, garments, trainer__precision="fp16")
    run = fit(config, {"callbacks": [{"type": "StopAt", "args": {"step": 6}}]}).path
    if name == "precision":
        tamper(run, lambda state: None)
        assert fit(resume=run, overrides={"callbacks": []}).reason == "finished"
        return
    edits: list[tuple[Edit, str]] = [
        (lambda s: s["precision"].update(scale=0.0), "precision['scale']: found 0.0, expected a number above 0"),
        (lambda s: s["precision"].update(growth_factor=-2.0), "precision['growth_factor']: found -2.0, expected 2.0"),
        (lambda s: s["precision"].update(_growth_tracker=-1), "precision['_growth_tracker']: found -1"),
        (lambda s: s["precision"].clear(), "precision: found no 'scale'"),
    ]
    for edit, text in edits:
        shutil.copytree(run, tmp_path / "spoiled")
        tamper(tmp_path / "spoiled", edit)
        assert text in refusal(tmp_path / "spoiled")
        shutil.rmtree(tmp_path / "spoiled")
