"""Converts a checkpoint of pytorch-template to a run.

python tools/convert_checkpoint.py saved/models/Mnist_LeNet/0101_120000/model_best.pth -c config.json
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from base.discovery import flags
from utils.process import command


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Converts a checkpoint of pytorch-template to a run. No code in the checkpoint runs."
    )
    parser.add_argument("checkpoint", help="a .pth file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="overrides the config")
    parser.add_argument("-c", "--config", help="the project's config (default: the config in the checkpoint)")
    parser.add_argument("--save-dir", default="saved", help="the folder of all runs (default: saved)")
    parser.add_argument("--plugin", action="append", default=[], metavar="MODULE", help="a module that registers names")
    arguments = parser.parse_intermixed_args()

    from base.legacy.checkpoint_file import convert

    plugins = arguments.plugin
    run = convert(arguments.checkpoint, arguments.config, arguments.overrides, arguments.save_dir, plugins=plugins)
    this = ("-r", run, *flags(plugins))
    print(f"made: {run}")
    print(f"  resume  {command('python', 'train.py', *this)}")
    print(f"  test    {command('python', 'test.py', *this)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, "--traceback" in sys.argv))
