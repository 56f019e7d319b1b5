"""The eight workloads, each with its contestants and the figures to compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from benchmarks import atelier, data
from benchmarks.job import Job
from benchmarks.launch import Ended

Figures = dict[str, float]


@dataclass(frozen=True)
class Sizes:
    """The sizes of the workloads: numbers of images and steps, megabytes of parameters."""

    train: int = 12_000
    test: int = 2_000
    evaluated: int = 10_000
    small_steps: int = 8_000
    large_steps: int = 6
    megabytes: int = 250
    """Megabytes of parameters; the state with momentum is twice as large."""
    batch: int = 64
    large_batch: int = 32


USUAL = Sizes()
FULL = Sizes(train=60_000, test=10_000)
SMALL = Sizes(320, 64, 64, 96, 3, 4, large_batch=4)


Contestant = Callable[[Path], Sequence[str]]
"""Returns the arguments for python; its argument is an empty folder for its files."""


@dataclass(frozen=True)
class Workload:
    title: str
    contestants: Mapping[str, Contestant]
    figures: Callable[[Ended], Figures]
    """Computes the figures of a process that has succeeded. LookupError if a stamp is missing."""
    compared: Mapping[str, str]
    """The headings of the figures that are shown and compared."""
    shown: Mapping[str, str]
    """The headings of the figures that are only shown."""
    over: bool = False
    """Whether to compare by difference instead of ratio."""


SCRIPTS = {
    "limit": "benchmarks.limit",
    "quickstart": "benchmarks.quickstart",
    "Lightning": "benchmarks.lightning_default",
}


def script(name: str, job: Job) -> Contestant:
    return lambda folder: ["-m", SCRIPTS[name], job.written()]


def project(job: Job, **options: object) -> Contestant:
    changed = replace(job, options=job.options | options)
    return lambda folder: atelier.command(changed, folder)


def field_of(job: Job, peers: bool) -> dict[str, Contestant]:
    """The usual contestants for one job."""
    names = ("limit", "quickstart", *["Lightning"] * peers)
    return {name: script(name, job) for name in names} | {"atelier": project(job)}


# --- figures from stamps ---------------------------------------------------------------------------------------------


def between(first: Mapping[str, float], last: Mapping[str, float]) -> Figures:
    return {clock: last[clock] - first[clock] for clock in ("cpu", "wall")}


def last_epoch(ended: Ended) -> Figures:
    """The last epoch, measured from the end of the one before it."""
    (first, last), end = ended.at("epoch")[-2:], ended.at("end")[0]
    return between(first, last) | {"loss": end["loss"], "beside": last["peak"] - end["raw"]}


def last_evaluation(ended: Ended) -> Figures:
    last = ended.at("evaluated")[-1]
    return between(ended.at("evaluate")[-1], last) | {"loss": last["loss"]}


def steps(ended: Ended) -> Figures:
    """The median step, without the first two, in which caches are filled and the first save is written."""
    each = [between(first, last) for first, last in pairwise(ended.at("step")[1:])]
    figures = {clock: median(step[clock] for step in each) for clock in ("cpu", "wall")}
    return figures | {"loss": ended.at("end")[0]["loss"]}


# --- the workloads ---------------------------------------------------------------------------------------------------

CLOCKS = {"cpu": "processor s"}, {"wall": "wall s", "loss": "loss at the end"}


def epoch_of(title: str, model: str, rate: float, folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_images(folder, sizes.train, sizes.test)
    job = Job(str(folder), {"type": model}, sizes.batch, rate)
    about = f"{title}: second epoch with evaluation, {sizes.train:,} and {sizes.test:,} images"
    return Workload(about, field_of(job, peers), last_epoch, *CLOCKS)


def w1(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    return epoch_of("MLP 784-512-512-10", "MLP", 0.01, folder, sizes, peers)


def w2(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    return epoch_of("LeNet", "LeNet", 0.1, folder, sizes, peers)


def w3(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_colour(folder, sizes.large_steps * sizes.large_batch)
    model = {"type": "ResNet", "args": {"in_channels": 3, "widths": [64, 128, 256, 512], "blocks": 2}}
    job = Job(str(folder), model, sizes.large_batch, epochs=1, every_step=True)
    return Workload(f"ResNet-18 on 3x32x32: one step of {job.batch}", field_of(job, peers), steps, *CLOCKS)


def w4(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    count = sizes.small_steps
    data.write_vectors(folder, count)
    job = Job(str(folder), {"type": "TenByTen"}, 1)
    contestants = {"bare step": script("limit", replace(job, options={"ready_made": True}))} | field_of(job, peers)
    lean: dict[str, object] = {
        "metrics": [],
        "trainer.verbosity": 0,
        "trainer.tensorboard": False,
        "trainer.log_every": 10**9,
    }
    contestants["atelier, lean"] = project(job, **lean)

    def step(ended: Ended) -> Figures:
        figures = last_epoch(ended)
        return figures | {clock: figures[clock] / count * 1e6 for clock in ("cpu", "wall")}

    shown = {"wall": "wall us", "loss": "loss at the end"}
    return Workload(
        "Linear(10, 10), batches of 1: one step", contestants, step, {"cpu": "processor us"}, shown, over=True
    )


def w5(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_images(folder, sizes.train, sizes.test)
    job = Job(str(folder), {"type": "MLP"}, sizes.batch, epochs=1, every_step=True)
    contestants: dict[str, Contestant] = {"floor": lambda folder: ["-m", "benchmarks.floor"]}
    contestants |= field_of(job, peers)
    del contestants["limit"]

    def first_step(ended: Ended) -> Figures:
        return {"cpu": ended.at("step")[0]["cpu"], "whole": ended.cpu}

    title = "start-up: to the first optimizer step, and the whole of a run of one epoch"
    return Workload(title, contestants, first_step, {"cpu": "processor s"}, {"whole": "whole run, processor s"})


def w5_nothing_to_train(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    unreadable = folder / "unreadable.yaml"
    unreadable.write_text("model: {type: MLP\n", encoding="utf-8")
    contestants: dict[str, Contestant] = {
        "python -c 'import yaml, pydantic'": lambda folder: ["-c", "import yaml, pydantic"],
        "train.py --help": lambda folder: ["train.py", "--help"],
        "train.py -c an unreadable file": lambda folder: ["train.py", "-c", str(unreadable)],
    }

    def whole(ended: Ended) -> Figures:
        return {"cpu": ended.cpu, "wall": ended.wall}

    title = "start-up: what needs no torch, the whole process"
    return Workload(title, contestants, whole, {"cpu": "processor s"}, {"wall": "wall s"})


def w6(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_vectors(folder, 3)
    model = {"type": "Heavy", "args": {"megabytes": sizes.megabytes}}
    job = Job(str(folder), model, 1, epochs=1)

    def bare(**options: object) -> Contestant:
        def command(folder: Path) -> list[str]:
            saving = replace(job, options={"path": str(folder / "saved.pt"), **options})
            return ["-m", "benchmarks.bare_saves", saving.written()]

        return command

    def saves(ended: Ended) -> Figures:
        saved, loaded = ended.at("saved")[-1], ended.at("loaded")[-1]
        return {"blocked": saved["blocked"], "saved": saved["saved"], "load": loaded["load"]}

    options: dict[str, object] = {
        "metrics": [],
        "callbacks": ["StampSaves"],
        "optimizer.args.momentum": 0.9,
        "trainer.keep": 1,
    }
    contestants = {"torch.save": bare(), "torch.save and fsync": bare(fsync=True), "atelier": project(job, **options)}
    compared = {"blocked": "loop blocked, wall s", "saved": "until saved, wall s", "load": "load, wall s"}
    return Workload(f"a state of {2 * sizes.megabytes} MB, saved and loaded", contestants, saves, compared, {})


def w7(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_images(folder, 10 * sizes.batch, sizes.evaluated)
    job = Job(str(folder), {"type": "MLP"}, sizes.batch, epochs=1, evaluations=3)
    contestants = field_of(job, peers)
    contestants["atelier, eval_batch_size 256"] = project(job, **{"data.loader.eval_batch_size": 256})
    about = f"MLP: evaluation of {sizes.evaluated:,} images in batches of {job.batch}, the third"
    return Workload(about, contestants, last_evaluation, *CLOCKS)


def w8(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    jobs = []
    for name, times in (("once", 1), ("ten", 10)):
        place = folder / name
        place.mkdir()
        data.write_images(place, times * sizes.train, sizes.test)
        jobs.append(Job(str(place), {"type": "MLP"}, sizes.batch))
    contestants = {"atelier": project(jobs[0]), "atelier, 10x the data": project(jobs[1])}
    title = f"MLP: {sizes.train:,} images, and ten times as many"
    return Workload(title, contestants, last_epoch, {"cpu": "processor s"}, {"beside": "peak MiB beside the raw data"})


def w8_metrics(folder: Path, sizes: Sizes, peers: bool) -> Workload:
    data.write_images(folder, sizes.train, sizes.test)
    job = Job(str(folder), {"type": "MLP"}, sizes.batch)
    ten = ["accuracy", *({"type": "top_k_accuracy", "name": f"top_{k}", "args": {"k": k}} for k in range(1, 10))]
    contestants = {"one metric": project(job), "ten metrics": project(job, metrics=ten)}
    return Workload("MLP: ten metrics against one", contestants, last_epoch, *CLOCKS)


WORKLOADS: dict[str, list[Callable[[Path, Sizes, bool], Workload]]] = {
    "W1": [w1], "W2": [w2], "W3": [w3], "W4": [w4],
    "W5": [w5, w5_nothing_to_train], "W6": [w6], "W7": [w7], "W8": [w8, w8_metrics],
}  # fmt: skip
