"""The minimum of every start: import torch, make an optimizer, step once. Nothing that trains can start faster."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str]) -> None:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    torch.optim.SGD([parameter], lr=0.1).step()

    from benchmarks.job import stamp

    stamp("step")


if __name__ == "__main__":
    main(sys.argv[1:])
