"""Starting a run: its directory, the record of what it was made from, and its outputs."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import writing
from base.registry import WRITERS
from base.runs.run_dir import ASKED, CONFIG, SPLIT, SYNTHETIC, Note, RunDir
from utils import files

if TYPE_CHECKING:
    from base.build import Builder
    from base.checkpoint.format import Checkpoint
    from base.config import Config
    from base.loop.base_trainer import BaseTrainer

log = logging.getLogger(__name__)


class NewRun:
    """A run that has not started yet. `decisions` is {} for a config that may come from a stranger: then nothing is
    downloaded."""

    over = ""

    def __init__(
        self, config: Config, note: Note, command: Sequence[str] = (), decisions: Mapping[str, Any] | None = None
    ) -> None:
        self.config, self.note, self.command, self.decisions = config, note, command, decisions

    def claim(self, stack: ExitStack) -> Mapping[str, Any] | None:
        """Checks that a directory can be created. It is created last, when everything else is known to work."""
        check_save_dir(self.config)
        return self.decisions

    def open(self, trainer: BaseTrainer, builder: Builder, stack: ExitStack) -> RunDir:
        """Creates the run's directory, locks it until `stack` ends, and records in it what the run was made from."""
        name = self.config.settings.name.removesuffix(SYNTHETIC) + SYNTHETIC * builder.synthetic
        run_dir = RunDir.create(self.config.settings.trainer.save_dir, name)
        log.info("run        %s", run_dir.path)
        stack.enter_context(run_dir.lock())
        self._write_origins(run_dir, builder)
        self.note.add_to(run_dir.path)
        attach_outputs(trainer, builder, run_dir, stack)
        return run_dir

    def _write_origins(self, run_dir: RunDir, builder: Builder) -> None:
        """Writes the config as given, the config with all decisions filled in, the environment, and the split."""
        from base.config.reader import to_yaml
        from utils.environment import environment

        header = f"# made from {self.config.source}\n"
        if builder.synthetic:
            header += "# trained on SyntheticFashion, drawn by the project: the real files were not available\n"
        decided = builder.decided() | {"name": run_dir.path.parent.name}
        with writing(run_dir.path):
            files.replace_file(run_dir.path / ASKED, self.config.to_yaml().encode())
            described = environment(str(builder.device), self.command)
            files.replace_file(run_dir.path / "environment.json", described.encode())
            if builder.data.split:
                from safetensors.torch import save

                files.replace_file(run_dir.path / SPLIT, save(dict(builder.data.split)))
            files.replace_file(run_dir.path / CONFIG, (header + to_yaml(decided)).encode())


def check_save_dir(config: Config) -> None:
    """ConfigError if this user cannot create run directories there."""
    save_dir = Path(config.settings.trainer.save_dir).absolute()
    nearest = next(path for path in (save_dir, *save_dir.parents) if path.exists())
    if not nearest.is_dir():
        what = f"{nearest} is a file, not a folder"
    elif not os.access(nearest, os.W_OK):
        what = f"{nearest} is a folder that this user may not write to"
    else:
        return
    raise config.error("trainer.save_dir", what)


def attach_outputs(
    trainer: BaseTrainer, builder: Builder, run_dir: RunDir, stack: ExitStack, saved: Checkpoint | None = None
) -> None:
    """Gives a trainer its log, its checkpoint store and its STOP file. From here on it writes to the run directory."""
    from base.checkpoint.store import CheckpointStore
    from utils.model_summary import describe

    settings = builder.settings.trainer
    trainer.parts.config = (saved and builder.config.to_dict()) or builder.decided() | {
        "name": run_dir.path.parent.name
    }
    trainer.log = WRITERS.get("run_log")(
        run_dir.path,
        header={
            "data": builder.data.decisions["data"],
            "name": run_dir.path.parent.name,
            "metrics": list(trainer.eval_metrics),
            "valid_sets": list(builder.data.valid),
        },
        tensorboard=settings.tensorboard,
        verbosity=settings.verbosity,
        monitor=trainer.monitor.name,
        epochs=settings.epochs,
        best=saved.state["monitor"]["best"] if saved else None,
        lengths=saved.state["logs"] if saved else None,
        purge_step=saved.info["step"] + 1 if saved else None,
        config=builder.decided(),
        describe_model=lambda: describe(trainer.models, trainer.parts.calls),
    )
    stack.callback(trainer.log.close)
    trainer.store = CheckpointStore(run_dir.checkpoints, settings.keep, settings.keep_every)
    trainer.request.stop_file = run_dir.path / "STOP"
