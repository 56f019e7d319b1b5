"""Faults, over and over: real runs of the shipped config are killed, signalled, damaged, starved of disk, and resumed.

    OMP_NUM_THREADS=1 python tests/campaigns/faults.py 100             # some 40 minutes; the table of docs/faults.md
    python tests/campaigns/faults.py 20 --seed 7                       # other instants
    python tests/campaigns/faults.py 4 --only SIGTERM                  # some of the classes

Each run is compared with one of its kind that was left alone: weights, optimizer, averages, schedules, metrics.jsonl
but for times, the best save, TensorBoard's scalars, all to the last bit. Exit status 1 unless everything held.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from base.loop.stopping import NAMES  # noqa: E402
from tests.base.test_growth import DRIVER as GROWTH  # noqa: E402
from tests.campaigns.trials import BIG, LONGEST, USUAL, Lab, Trial, ended, pause, until  # noqa: E402


@dataclass
class Row:
    """A class of faults: what was tried, what held, and the worst that was seen."""

    name: str
    tried: int = 0
    held: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def note(self, name: str, value: float) -> None:
        self.worst[name] = max(self.worst.get(name, value), value)

    @contextmanager
    def one(self, what: str, count: int = 1) -> Iterator[None]:
        """One try, or `count` of them; what is raised inside is told, and they count as not held."""
        self.tried += count
        try:
            yield
            self.held += count
        except Exception as error:
            print(f"NOT HELD: {self.name}: {what}: {type(error).__name__}: {error}", flush=True)

    def __str__(self) -> str:
        worst = ", ".join(f"{name} {value:.3g}" for name, value in self.worst.items())
        return f"| {self.name} | {self.tried} | {self.held} | {worst or '-'} | {self.seconds:.0f} |"


def kills(lab: Lab, row: Row, count: int, kinds: list[str], kill: Callable[[Lab, Trial], bool]) -> None:
    """`count` kills, one to three in each run, which counts for as many."""
    for number in range(4 * count):
        if row.tried == count:
            break
        kind, landed = kinds[number % len(kinds)], 0
        with lab.trial(kind) as trial:
            for _ in range(min(lab.random.randint(1, 3), count - row.tried)):
                landed += kill(lab, trial)
                row.note("steps done again", trial.steps_done() - trial.steps_saved())
            if landed:
                with row.one(kind, landed):
                    trial.finish()


def kill_at_random(lab: Lab, trial: Trial) -> bool:
    """In any of the steps that are left, or a little after it. Whether the process was alive until then."""
    left = max(1, lab.reference(trial.kind).trial.steps_done() - trial.steps_saved())
    target, delay = len(trial.steps()) + lab.random.randrange(left), 0.1 * lab.random.random()
    process = trial.launch()
    until(lambda: trial.training(process) and len(trial.steps()) >= target, process)
    pause(delay, process)
    process.kill()
    return process.wait() == -signal.SIGKILL


def kill_in_a_save(lab: Lab, trial: Trial) -> bool:
    """Whether a temporary folder was being written when it was killed."""
    nth, delay = lab.random.randint(1, 3), lab.random.random() * lab.reference(trial.kind).save_seconds
    process = trial.launch()
    for _ in range(nth):
        until(lambda: trial.training(process) and not trial.saving(), process)
        until(trial.saving, process)
    pause(delay, process)
    process.kill()
    return process.wait() == -signal.SIGKILL and trial.saving()


def signals(lab: Lab, row: Row, where: str) -> None:
    """The step is finished, the state saved, the exit code 128 + the signal."""
    kind = {"in a step": USUAL[1], "in a validation": "slow validation", "in a save": BIG[0]}[where]
    for number in (getattr(signal, name) for name in NAMES):
        with lab.trial(kind) as trial, row.one(f"{number.name} {where}"):
            process = trial.launch()
            if where == "in a validation":
                until(functools.partial(trial.is_at, trial.steps_per_epoch * lab.random.randint(1, 3)), process)
                pause(0.05, process)
            else:
                steps = lab.reference(kind).trial.steps_done()
                until(functools.partial(trial.is_at, lab.random.randint(1, steps * 2 // 3)), process)
            if where == "in a save":
                until(lambda: not trial.saving(), process)
                until(trial.saving, process)
            process.send_signal(number)
            sent = time.monotonic()
            code = ended(process)
            row.note("seconds to the exit", time.monotonic() - sent)
            row.note("steps lost", trial.steps_done() - trial.steps_saved())
            assert code == 128 + number, f"exit {code}: {trial.errors}"
            assert trial.steps_done() == trial.steps_saved()
            if where == "in a validation":
                assert trial.store.load().info["phase"] == "validate", "it was not hit in its validation"
            trial.finish()


def second_signals(lab: Lab, row: Row, tries: int) -> None:
    """While the first one's save is being written: the process is gone at once, and nothing but that save is lost."""
    for _ in range(tries):
        with lab.trial(BIG[0]) as trial, row.one("second signal"):
            process = trial.launch()
            until(lambda: trial.steps_done() > 3, process)
            process.send_signal(signal.SIGTERM)
            until(trial.saving, process)
            process.send_signal(signal.SIGTERM)
            sent = time.monotonic()
            assert ended(process) == 143
            row.note("seconds to the exit", time.monotonic() - sent)
            trial.finish()


def damage(lab: Lab, row: Row, tries: int) -> None:
    """To a file of the newest save: it is refused and moved aside, the one before is taken."""
    for number in range(tries):
        with lab.trial(USUAL[number % len(USUAL)]) as trial:
            while trial.steps_saved() < 3 or len(trial.store.names()) < 2:
                kill_at_random(lab, trial)
            newest = trial.store.names()[-1]
            file = lab.random.choice(sorted((trial.store.folder / newest).iterdir()))
            data, at = file.read_bytes(), lab.random.randrange(file.stat().st_size)
            flipped = data[:at] + bytes([data[at] ^ 1 << lab.random.randrange(8)]) + data[at + 1 :]
            how, spoiled = [("cut", data[:at]), ("a bit flipped", flipped), ("emptied", b"")][number % 3]
            file.write_bytes(spoiled)
            with row.one(f"{file.name} {how} at {at}"):
                trial.finish()
                assert (trial.store.folder / "rejected" / newest).exists(), "it was not refused"


def full_disk(lab: Lab, row: Row, filled: bool) -> None:
    """A real one that holds two saves and a half; `filled`: to the brim, by another program, in the midst of a save."""
    place = Path(tempfile.mkdtemp(dir=lab.folder))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=260m", "tmpfs", place], capture_output=True).returncode:
        print(f"skipped: {row.name}: a small disk can be mounted only by root on Linux")
        return
    try:
        lab.reference(BIG[0])
        trial = Trial(lab, BIG[0], place / "saved")
        with row.one("brim" if filled else "room"):
            process = trial.launch()
            if filled:
                until(lambda: trial.steps_done() > 3 and trial.saving(), process)
                with (place / "filler").open("wb", 0) as filler:
                    while process.poll() is None and shutil.disk_usage(place).free:
                        filler.write(bytes(min(1 << 20, shutil.disk_usage(place).free)))
            assert ended(process) == 6, trial.errors
            lines = [line for line in trial.errors.splitlines() if "little room" not in line]
            assert len(lines) == 1 and "no space left" in lines[0].lower(), lines
            assert not trial.saving()
            (place / "filler").unlink(missing_ok=True)
            subprocess.run(["mount", "-o", "remount,size=900m", place], check=True)
            row.note("steps done again", trial.steps_done() - trial.steps_saved())
            trial.finish()
    finally:
        subprocess.run(["umount", place], check=True)


def two_at_once(lab: Lab, row: Row, tries: int) -> None:
    """Two resumes of one run, started together: one trains, the other exits with 3 and names it."""
    for _ in range(tries):
        with lab.trial(USUAL[0]) as trial, row.one("two resumes"):
            process = trial.launch()
            until(lambda: trial.steps_done() > 5, process)
            process.kill()
            process.wait()
            processes = [trial.launch(), trial.launch("the other's errors")]
            codes = sorted(ended(process) for process in processes)
            said = trial.errors + (trial.folder / "the other's errors").read_text()
            assert codes == [0, 3], f"{codes}: {said}"
            assert any(f"is in use by process {process.pid} on" in said for process in processes), said
            trial.finish()


def at_once(lab: Lab, row: Row, tries: int) -> None:
    """A run with two workers is resumed in the instant in which it was killed; the orphans die soon."""
    kind = USUAL[2]
    for _ in range(tries):
        with lab.trial(kind) as trial, row.one(kind):
            process = trial.launch()
            until(lambda: trial.steps_done() > 5, process)
            orphans = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.kill()
            process.wait()
            killed = time.monotonic()
            resumed = trial.launch()
            while any(Path(f"/proc/{orphan}").exists() for orphan in orphans):
                time.sleep(0.01)
                assert time.monotonic() - killed < 30, "workers outlive their parent"
            row.note("seconds a worker outlives its parent", time.monotonic() - killed)
            assert ended(resumed) == 0, trial.errors
            trial.finish()


def no_way_in(lab: Lab, row: Row) -> None:
    """The suite's planted payloads and hostile configs, one after the other."""
    files = [f"tests/base/test_{name}.py" for name in ("no_way_in", "saved")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={lab.folder / 'pytest'}"]
    output = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True).stdout
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", output)}
    row.tried, row.held = sum(counts.values()), counts.get("passed", 0)
    for line in re.findall(r"^FAILED.*", output, re.MULTILINE):
        print(f"NOT HELD: {row.name}: {line}")


def growth(lab: Lab, row: Row) -> None:
    """200 epochs; measured from the 50th on."""
    trial = Trial(lab, USUAL[0])
    changes = ["plugins=[]", "callbacks=[Measure]", "data.valid=0.9", "trainer.epochs=200"]
    with row.one("200 epochs"):
        measured = trial.folder / "measured"
        command = [sys.executable, "-c", GROWTH, str(measured), *trial.start, *changes]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=LONGEST)
        (early, handles), *_, (late, handles_late) = map(json.loads, measured.read_text().splitlines()[49:])
        row.note("MB more", (late - early) / 1e6)
        row.note("handles more", handles_late - handles)
        assert late - early < 1e6 and handles_late <= handles


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kills", type=int, help="how many times to kill -9, half of them inside a save of 100 MB")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", metavar="TEXT", help="the classes whose name holds this text")
    arguments = parser.parse_args()
    for name in NAMES:  # a run ignores what is ignored here, as SIGINT is in the background
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which cleans up
    signal.signal(signal.SIGINT, signal.default_int_handler)
    half = arguments.kills // 2
    few = max(3, arguments.kills // 10)
    classes: list[tuple[str, Callable[..., None], tuple[Any, ...]]] = [
        ("kill -9 at a random instant", kills, (arguments.kills - half, USUAL, kill_at_random)),
        ("kill -9 inside a save of 100 MB", kills, (half, BIG, kill_in_a_save)),
        (f"{', '.join(NAMES)} in a step", signals, ("in a step",)),
        ("the same in a validation", signals, ("in a validation",)),
        ("the same in a save of 100 MB", signals, ("in a save",)),
        ("a second SIGTERM", second_signals, (3,)),
        ("the newest save damaged", damage, (few,)),
        ("disk full before a save", full_disk, (False,)),
        ("disk full in the midst of a save", full_disk, (True,)),
        ("two resumes at once", two_at_once, (3,)),
        ("resumed at once after kill -9, 2 workers", at_once, (3,)),
        ("hostile checkpoints and configs", no_way_in, ()),
        ("200 epochs", growth, ()),
    ]
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    table = []
    try:
        lab = Lab(folder, arguments.seed)
        for name, make, parameters in (one for one in classes if arguments.only in one[0]):
            row, begun = Row(name), time.monotonic()
            make(lab, row, *parameters)
            row.seconds = time.monotonic() - begun
            table.append(row)
            print(row, flush=True)
    finally:
        shutil.rmtree(folder)
    print("\n| class | tried | held | worst | seconds |\n|---|---|---|---|---|", *table, sep="\n")
    return 0 if all(row.held == row.tried for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
