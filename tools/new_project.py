"""python tools/new_project.py ../my_project"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from base.cli import exit_code
from base.new_project import new_project
from utils.process import command


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes a project: the framework, and an example of each component.")
    parser.add_argument("folder", help="where; its last part is the project's name")
    folder = new_project(parser.parse_args().folder)
    config = f"configs/{folder.name.replace('-', '_')}.yaml"
    print(f"made: {folder}\n  {command('cd', folder)}\n  {command('python', 'train.py', '-c', config)}")
    return 0


if __name__ == "__main__":
    sys.exit(exit_code(main))
