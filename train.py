"""python train.py -c configs/fashion_mnist.yaml

base/cli.py reads the flags and calls `fit` in base/run.py, which is the whole story. Where its steps live:

    config          _plan             base/config/__init__.py      files and overrides, checked as a whole
    run directory   plan.claim        base/runs/start.py           a resumed run is locked: base/runs/resume.py
    data            load_data         data_loader/assemble.py      datasets, transforms, loaders
    model           build_models      base/registry.py             from a name to a class to an object
    loss            build_losses      base/build.py                losses by name, weighted terms
    trainer         build_trainer     trainer/supervised.py        what happens with a batch
    dry run         dry_run           base/checks/start.py         one evaluation batch, before anything is written
    optimizer       add_optimizers    base/loop/optim.py           groups, schedules, averages
    outputs         plan.open         base/runs/start.py           the run directory, log and checkpoints
    train           _train            base/loop/base_trainer.py    epochs, steps, evaluation, saves
"""

import sys

from base.cli import train

if __name__ == "__main__":
    sys.exit(train(sys.argv[1:]))
