"""python -m benchmarks W1 W4 --rounds 3

Without names, it runs all workloads, in about an hour. See docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.contest import Launch, contest
from benchmarks.launch import fresh_process
from benchmarks.peers import lightning
from benchmarks.table import circumstances
from benchmarks.workloads import FULL, SMALL, USUAL, WORKLOADS


def main(argv: Sequence[str], launch: Launch = fresh_process) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed relative to a hand-written loop.")
    parser.add_argument("workloads", nargs="*", metavar="W", help=f"of {', '.join(WORKLOADS)}; all if none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="include Lightning, if it is installed")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--small", action="store_const", dest="sizes", const=SMALL, default=USUAL, help="a quick trial")
    sizes.add_argument("--full", action="store_const", dest="sizes", const=FULL, help="60,000 and 10,000 images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    arguments = parser.parse_args(argv)
    if unknown := [name for name in arguments.workloads if name not in WORKLOADS]:
        parser.error(f"{unknown[0]}: expected one of {', '.join(WORKLOADS)}")
    peers, why_not = lightning() if arguments.peers else (False, "")
    if why_not:
        print(why_not, file=sys.stderr)
    rounds, everything, faults = arguments.rounds, {}, []
    print(f"{circumstances(rounds)}\n", flush=True)
    for name in arguments.workloads or WORKLOADS:
        for make in WORKLOADS[name]:
            result = contest(make, arguments.sizes, rounds, peers, launch, lambda text: print(text, file=sys.stderr))
            print(f"**{name}** {result.workload.title}\n\n{result.markdown()}\n", flush=True)
            everything[f"{name} {result.workload.title}"] = result.rounds
            faults += result.faults
    if arguments.json:
        arguments.json.write_text(json.dumps({"circumstances": circumstances(rounds), "results": everything}, indent=1))
    print("\n".join(faults), end="\n" * bool(faults), file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
