"""Inspects the data of a config: sizes, classes, means, duplicates, broken files, and a sheet of samples.

python tools/inspect_data.py -c configs/fashion_mnist.yaml
python tools/inspect_data.py -c configs/fashion_mnist.yaml data.valid=0.2 --out samples.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from base.errors import DataError, writing
from utils.files import replace_file


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Reads every sample of a config's datasets once.", allow_abbrev=False)
    parser.add_argument("-c", "--config", required=True, metavar="CONFIG", help="a YAML or JSON file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="overrides the config, read as YAML")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="a module that registers names")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="the sheet of samples (default: inspect_<name>.png, here)"
    )
    options = parser.parse_intermixed_args(argv)

    from torch.utils.data import DataLoader

    from base.build import Builder
    from base.config import Config
    from base.registry import DATASETS, WRITERS

    overrides = [*options.overrides, "device=cpu"]
    config = Config.read(options.config, overrides, plugins=options.plugin)
    if not issubclass(DATASETS.get(config.settings.data.train.type), DataLoader):
        # All unreadable samples are reported, and none of them may end the program.
        overrides += ["data.on_error=skip", "data.max_errors=1000000000"]
        config = Config.read(options.config, overrides, plugins=options.plugin)
    WRITERS.get("console")()
    data = Builder(config).load_data()

    from data_loader.inspect.inspect import inspect
    from data_loader.inspect.report import is_broken, report, sample_sheet
    from logger.console import progress

    found = inspect(data, progress(2))
    normalises = [c.args for c in config.settings.data.transform.eval if c.type == "Normalize"]
    for line in report(found, normalises):
        print(line)
    if sheet := sample_sheet(data):
        path = options.out or Path(f"inspect_{config.settings.name}.png")
        with writing(path):
            replace_file(path, sheet)
        print(f"samples before and after the transforms: {path}")
    else:
        print("no sheet of samples: the inputs are not images")
    return DataError.exit_code if is_broken(found) else 0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:])))
