"""Measures the speed on a GPU relative to a hand-written loop, and checks what only a GPU can show.

    python -m benchmarks.gpu                              # about five minutes
    python -m benchmarks.gpu --device cpu --seconds 1     # to see that it runs

Prints a table, then one line of JSON for each figure. Exit status 5 without a GPU, 1 if something failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import yaml

from benchmarks.data import floats, tensors, write_images
from benchmarks.table import circumstances, compare, ratio, spread

if TYPE_CHECKING:
    from torch import Tensor, nn

    from base import Callback, Run

BATCH = 256
Measure = Callable[[], float]
"""Measures once; returns milliseconds per step."""


class Here:
    """The conditions of a measurement: a device, data in a folder, and how long one figure takes."""

    def __init__(self, device: str, seconds: float, folder: Path, steps: int) -> None:
        import torch

        self.device, self.seconds, self.folder, self.steps = torch.device(device), seconds, folder, steps
        self.runs = 0
        write_images(folder, steps * BATCH, BATCH)
        self.images, self.labels = (whole.to(self.device) for whole in tensors(str(folder)))

    def clock(self) -> float:
        """The time in seconds, after the device has finished all its work."""
        import torch

        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


# --- the hand-written loop -------------------------------------------------------------------------------------------


def bare(here: Here, change: Callable[[nn.Module], nn.Module] = lambda model: model, **options: Any) -> float:
    """Milliseconds per step of a loop with shuffled batches on the device, SGD and a summed loss; nothing else."""
    step = bare_step(here, change, **options)
    epochs, begun = 0, 0.0
    while not epochs or here.clock() - begun < here.seconds:
        for inputs, targets in shuffled(here):
            step(inputs, targets)
        if not begun:  # the first epoch warms up
            begun = here.clock()
            continue
        epochs += 1
    return (here.clock() - begun) / (epochs * here.steps) * 1e3


def bare_step(
    here: Here, change: Callable[[nn.Module], nn.Module], graph: bool = False, bf16: bool = False
) -> Callable[[Tensor, Tensor], None]:
    import torch

    from benchmarks.models import build

    torch.manual_seed(0)
    model = change(build({"type": "MLP"}).to(here.device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    total = torch.zeros((), device=here.device)

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(here.device.type, torch.bfloat16, enabled=bf16):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())

    return graphed(step, *next(shuffled(here))) if graph else step


def graphed(
    step: Callable[[Tensor, Tensor], None], inputs: Tensor, targets: Tensor
) -> Callable[[Tensor, Tensor], None]:
    """A step that is captured once and replayed."""
    import torch

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step(inputs, targets)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(inputs, targets)

    def replay(some: Tensor, their: Tensor) -> None:
        inputs.copy_(some)
        targets.copy_(their)
        graph.replay()

    return replay


def shuffled(here: Here) -> Iterator[tuple[Tensor, Tensor]]:
    import torch

    order = torch.randperm(len(here.labels), device=here.device)
    for chosen in order.split(BATCH):
        yield floats(here.images.index_select(0, chosen)), here.labels.index_select(0, chosen)


# --- the project -----------------------------------------------------------------------------------------------------


def train(here: Here, changes: Mapping[str, Any], *callbacks: Callback) -> Run:
    """A run in its own folder, with all default features, but without output and validation."""
    from base import fit

    here.runs += 1
    folder = here.folder / f"run-{here.runs}"
    folder.mkdir()
    config: dict[str, Any] = {
        "name": "gpu",
        "device": str(here.device),
        "data": {
            "train": {"type": "FashionMNIST", "args": {"root": str(here.folder), "download": False}},
            "valid": None,
            "test": None,
            "transform": {"train": ["ToFloat"]},
            "loader": {"batch_size": BATCH},
        },
        "model": "MLP",
        "loss": "CrossEntropyLoss",
        "metrics": ["accuracy"],
        "optimizer": {"type": "SGD", "args": {"lr": 0.01}},
        "trainer": {"epochs": 10**6, "monitor": "off", "save_dir": str(folder), "save_period": 10**6, "verbosity": 0},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    run = fit(file, changes, callbacks=callbacks)
    if run.reason == "signal":  # the run treats Ctrl-C as a request to stop, so this program must pass it on
        raise KeyboardInterrupt
    return run


def project(here: Here, **changes: Any) -> float:
    """Milliseconds per step, from the end of the first epoch to the end of the last; `a__b` means the key a.b."""
    from base import Callback

    class Clock(Callback):
        begun, epochs = 0.0, 0

        def on_epoch_end(self, trainer: Any, row: Any) -> None:
            now = here.clock()
            if not self.begun:
                self.begun = now
                return
            self.epochs += 1
            self.ended = now
            if now - self.begun >= here.seconds:
                trainer.stop("measured")

    clock = Clock()
    train(here, {key.replace("__", "."): value for key, value in changes.items()}, clock)
    return (clock.ended - clock.begun) / (clock.epochs * here.steps) * 1e3


def contestants(here: Here) -> dict[str, Measure]:
    """All contestants; the others are compared with the first."""
    import torch

    loader = {"data__loader__in_memory": False, "data__loader__num_workers": 2}
    pinned = {**loader, "data__loader__pin_memory": True}
    all_of_them: dict[str, Measure] = {
        "bare loop": lambda: bare(here),
        "bare loop, CUDA graph": lambda: bare(here, graph=True),
        "bare loop, bf16": lambda: bare(here, bf16=True),
        "bare loop, compiled": lambda: bare(here, torch.compile),
        "project": lambda: project(here),
        "project, bf16": lambda: project(here, trainer__precision="bf16"),
        "project, compiled": lambda: project(here, trainer__compile=True),
        "project, non_finite: ignore": lambda: project(here, trainer__non_finite="ignore"),
        "project, non_finite: skip": lambda: project(here, trainer__non_finite="skip"),
        "project, 2 workers": lambda: project(here, **loader),
        "project, 2 workers, pinned copies": lambda: project(here, **pinned),
    }
    if here.device.type != "cuda":
        del all_of_them["bare loop, CUDA graph"], all_of_them["project, 2 workers, pinned copies"]
    return all_of_them


# --- checks ----------------------------------------------------------------------------------------------------------


def guard(here: Here) -> str:
    """Why the NaN guard failed; empty if it worked. An absurd learning rate overflows within an epoch."""
    from base.errors import NotFiniteError

    try:
        train(here, {"optimizer.args.lr": 1e30, "trainer.epochs": 2})
    except NotFiniteError:
        return ""
    return "a run that overflowed was not stopped"


def fp16_with_two_optimizers(here: Here) -> str:
    """Each of two optimizers unscales its own gradients, so the weights must be near those of fp32."""
    import torch

    optimizers = {
        name: {"type": "SGD", "args": {"lr": 0.1}, "params": pattern}
        for name, pattern in (("first", r"^layers\.0"), ("second", r"^layers\.[1-9]"))
    }
    changes = {"optimizer": optimizers, "model": {"type": "MLP", "args": {"hidden": [64]}}, "trainer.epochs": 1}
    half, whole = (train(here, {**changes, "trainer.precision": mode}).trainer.model for mode in ("fp16", "fp32"))
    for (name, one), other in zip(half.named_parameters(), whole.parameters(), strict=True):
        if not torch.allclose(one, other, rtol=0, atol=1e-2):
            return f"{name} is {float((one - other).abs().max()):.2g} away from fp32"
    return ""


def exact_resume(here: Here) -> str:
    """With deterministic algorithms, a run that is stopped inside an epoch and resumed must have the same weights, to
    the last bit."""
    import torch

    from base import Callback, fit

    class StopInside(Callback):
        def on_step_end(self, trainer: Any, terms: Any) -> None:
            if trainer.progress.step == here.steps + 1:
                trainer.stop("halfway")

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        whole = train(here, {"trainer.epochs": 3})
        stopped = train(here, {"trainer.epochs": 3}, StopInside())
        resumed = fit(resume=stopped.path)
    finally:
        torch.use_deterministic_algorithms(False)
    pairs = zip(whole.trainer.model.parameters(), resumed.trainer.model.parameters(), strict=True)
    return "" if all(torch.equal(one, other) for one, other in pairs) else "the weights differ"


CHECKS = {
    "guard: a run that overflows is stopped": guard,
    "fp16 with two optimizers: near fp32": fp16_with_two_optimizers,
    "exact resume with deterministic algorithms": exact_resume,
}


# --- the report ------------------------------------------------------------------------------------------------------


def attempt(name: str, do: Callable[[], Any]) -> tuple[Any, str]:
    """The result of `do`, and why it failed."""
    try:
        return do(), ""
    except Exception as error:  # the other figures can still be measured
        text = f"{type(error).__name__}: {error}".partition("\n")[0]
        print(f"{name}: {text}", file=sys.stderr, flush=True)
        return None, text


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="cuda or cuda:1; cpu to see that it runs")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each figure of each round (5)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help=f"of {BATCH} images, an epoch (200)")
    arguments = parser.parse_args(argv)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA is used first
    import torch

    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        print("no GPU is available: nothing was measured; use --device cpu to see that it runs", file=sys.stderr)
        return 5
    with tempfile.TemporaryDirectory() as folder:
        here = Here(arguments.device, arguments.seconds, Path(folder), arguments.steps)
        rounds: dict[str, list[Mapping[str, float] | None]] = {name: [] for name in contestants(here)}
        for _ in range(arguments.rounds):
            for name, measure in contestants(here).items():
                milliseconds, _ = attempt(name, measure)
                rounds[name].append(None if milliseconds is None else {"ms": milliseconds})
        faults = {
            name: "".join(filter(None, attempt(name, lambda check=check: check(here))))
            for name, check in CHECKS.items()
        }
    return report(here, rounds, faults)


def report(here: Here, rounds: Mapping[str, list[Mapping[str, float] | None]], faults: Mapping[str, str]) -> int:
    import torch

    kind = torch.cuda.get_device_name(here.device) if here.device.type == "cuda" else "no GPU"
    first = next(iter(rounds))
    print(f"{kind}; {circumstances(len(next(iter(rounds.values()))))}\n")
    print(f"| batches of {BATCH}, MLP 784-512-512-10 | ms a step | x {first} |\n|---|---|---|")
    lines = []
    for name, figures in rounds.items():
        values = [figure["ms"] for figure in figures if figure]
        ratios = compare(figures, rounds[first], "ms")
        print(f"| {name} | {spread(values)} | {ratio(ratios, over=False)} |")
        middle = {"ms": median(values), "ratio": median(ratios) if ratios else None} if values else {"failed": True}
        lines.append({"figure": name, **middle})
    for name, fault in faults.items():
        print(f"| {name} | {fault or 'held'} | |")
        lines.append({"figure": name, "held": not fault})
    print("", *map(json.dumps, lines), sep="\n")
    return 1 if any(faults.values()) or not all(all(figures) for figures in rounds.values()) else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
    sys.exit(130)
