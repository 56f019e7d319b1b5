"""python tools/convert_checkpoint.py saved/models/Mnist_LeNet/0101_120000/model_best.pth -c config.json"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.command_line import exit_code


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes a run of a checkpoint of pytorch-template. No code of it runs.")
    parser.add_argument("checkpoint", help="a .pth file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="lies over the config")
    parser.add_argument("-c", "--config", help="the project's config (default: the one that the checkpoint holds)")
    parser.add_argument("--save-dir", default="saved", help="the folder of all runs (default: saved)")
    arguments = parser.parse_intermixed_args()

    from base.template.conversion import convert

    run = convert(arguments.checkpoint, arguments.config, arguments.overrides, arguments.save_dir)
    print(f"made: {run}\n  resume  python train.py -r {run}\n  test    python test.py -r {run}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main, "--traceback" in sys.argv))
