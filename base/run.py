"""The life of a run: `fit` starts or resumes one and trains it; `check` only looks.

    from base import fit, evaluate

    run = fit("configs/fashion_mnist.yaml", {"optimizer.args.lr": 0.01})
    scores = evaluate(run.path)

These raise; the scripts turn what is raised into an exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import ConfigError, Fault, NotFiniteError, OutOfMemoryError, UserError, ran_out_of_memory, writing
from base.registry import WRITERS
from base.runs.lock import refuse_several_processes
from base.runs.resume import (
    ASKED,
    DONE,
    SPLIT,
    check_changes,
    check_data,
    choose_save,
    differences_as_overrides,
    is_complete,
    newest_of,
    set_newer_aside,
    tell_other_machine,
    touched_by,
    unfinished_of,
)
from base.runs.run_dir import CONFIG, SYNTHETIC, Note, RunDir, resolve_resume
from utils import files
from utils.process import gc_resume

if TYPE_CHECKING:
    from torch import nn

    from base.build import Builder
    from base.checkpoint.format import Checkpoint
    from base.checks.preflight import Preflight
    from base.config import Config
    from base.loop.base_trainer import BaseTrainer
    from base.loop.callback import Callback

Overrides = Sequence[str] | Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What `fit` gives back."""

    path: Path
    config: Config
    reason: str
    """Why it ended: finished, early_stop, max_time, signal, or what a callback said."""
    signal: int
    """The signal that ended it, or 0."""
    best: float | None
    """The best value of `trainer.monitor`."""
    trainer: BaseTrainer

    @property
    def model(self) -> nn.Module:
        return self.trainer.model


def fit(
    config: str | Path | None = None,
    overrides: Overrides = (),
    resume: str | Path | None = None,
    *,
    newest: bool = False,
    auto: bool = False,
    force: bool = False,
    plugins: Sequence[str] = (),
    note: str = "",
    tags: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    command: Sequence[str] = (),
) -> Run:
    """Starts a run from a config, or goes on with one where it stopped.

    `resume` is a run or a checkpoint in it: its own config is the base, `config` and `overrides` are differences,
    judged by what they would do to the run; `force` lets pass those that change its course. `newest` goes on with the
    newest run of the config's name; `auto` does so if that is unfinished and its config is equal, else it starts one.
    `note` and `tags` are kept in the run: why it was made, what it belongs to. `callbacks` watch beside the config's.

    Raises ConfigError, CheckpointError, DataError, NotFiniteError, WriteError, or what the user's own code raises.
    """
    remark = Note(note, tuple(tags))
    with ExitStack() as stack:
        asked = _read(config, overrides, plugins) if config is not None else None
        name = None
        if resume is not None:
            folder, name = resolve_resume(resume)
        elif asked is None:
            raise UserError("fit needs a config to start from, or a run to resume")
        else:
            found = newest_of(asked) if newest else unfinished_of(asked, plugins) if auto else None
            if found is None:
                return _train(*start(stack, asked, remark, command), callbacks)
            folder = found
        if asked is not None:
            overrides = differences_as_overrides(_read(folder.path / ASKED, (), plugins, of_run=True), asked)
        before = _read(folder.path / CONFIG, (), plugins, of_run=True)
        after = _read(folder.path / CONFIG, overrides, plugins, of_run=True)
        return _resume(stack, folder, name, before, after, force, remark, callbacks)


def check(config: str | Path, overrides: Overrides = (), plugins: Sequence[str] = ()) -> list[Fault]:
    """Both passes over a config: its text, then what needs data and a model, with one training batch. Writes nothing.

    Returns what trains, though hardly as meant; raises as `fit` does.
    """
    _, _, preflight = _build(_read(config, overrides, plugins), checks=True)
    return preflight.warnings


def _read(path: str | Path, overrides: Overrides = (), plugins: Sequence[str] = (), of_run: bool = False) -> Config:
    """The first pass; a file that cannot be read is refused before torch is imported."""
    from base.config import Config

    refuse_several_processes()
    config = Config.read(path, overrides, plugins=plugins, of_run=of_run)
    WRITERS.get("console")(config.settings.trainer.verbosity)
    for note in config.notes:
        log.info("%s", note)
    return config


def _build(
    config: Config, kept: Mapping[str, Any] | None = None, checks: bool = False
) -> tuple[BaseTrainer, Builder, Preflight]:
    """The second pass, which is the building itself; nothing is written yet. It tells what it builds."""
    from base.build import Builder
    from base.checks import summary
    from base.checks.preflight import Preflight, ShapeProbe

    builder = Builder(config, kept)
    preflight = Preflight(builder)
    _log_lines(summary.of_data(builder))
    parts = builder.parts()
    with ShapeProbe(parts.models) as seen, preflight.watching(parts):
        trainer = builder.trainer(parts)
    builder.add_training(parts)
    _log_lines(summary.of_training(builder, trainer, seen))
    preflight.look(trainer)
    if checks:
        _log_lines(summary.of_layers(trainer))
        preflight.try_training(trainer)
    preflight.tell()
    return trainer, builder, preflight


def _log_lines(lines: Iterable[str]) -> None:
    for line in lines:
        log.info("%s", line)


def start(
    stack: ExitStack, config: Config, note: Note, command: Sequence[str], kept: Mapping[str, Any] | None = None
) -> tuple[BaseTrainer, RunDir, Config]:
    """A run in a folder of its own, locked until `stack` ends, that has done nothing yet. `kept` is {} for a config
    that may be a stranger's: nothing is fetched for it then."""
    trainer, builder, _ = _build(config, kept)
    name = config.settings.name.removesuffix(SYNTHETIC) + SYNTHETIC * builder.synthetic
    folder = RunDir.create(config.settings.trainer.save_dir, name)
    log.info("run        %s", folder.path)
    stack.enter_context(folder.lock())
    _write_beginning(folder, config, builder, command)
    note.add_to(folder.path)
    _attach_outputs(stack, trainer, builder, folder)
    return trainer, folder, config


def _write_beginning(folder: RunDir, config: Config, builder: Builder, command: Sequence[str]) -> None:
    """What the run is made of: the config as it was asked for, the same with every decision taken, the machine."""
    from base.config.reader import to_yaml
    from utils.environment import environment

    header = f"# made from {config.source}\n"
    if builder.synthetic:
        header += "# trained on SyntheticFashion, drawn by the project: the real files were not to be had\n"
    decided = builder.decided() | {"name": folder.path.parent.name}
    with writing(folder.path):
        files.replace_file(folder.path / ASKED, config.to_yaml().encode())
        files.replace_file(folder.path / "environment.json", environment(str(builder.device), command).encode())
        _save_split(folder, builder)
        files.replace_file(folder.path / CONFIG, (header + to_yaml(decided)).encode())


def _resume(
    stack: ExitStack,
    folder: RunDir,
    name: str | None,
    before: Config,
    config: Config,
    force: bool,
    note: Note,
    callbacks: Sequence[Callback],
) -> Run:
    from base.checkpoint.state import restore
    from base.checkpoint.store import CheckpointStore
    from base.checkpoint.verify import check_fit, check_save
    from base.runs.difference import difference

    state = folder.state()
    stack.enter_context(folder.lock())
    changes = difference(before, config)
    store = CheckpointStore(folder.checkpoints)
    saved = choose_save(store, name)
    if saved is not None:
        check_save(saved)
    check_changes(changes, config, saved, force)
    trainer, builder, _ = _build(config, kept=saved.info["data"] if saved else {})
    check_data(saved, trainer.data, folder, force)
    if saved is not None:
        check_fit(trainer, saved, forced=any(change.verdict != "harmless" for change in changes))
    tell_other_machine(folder, str(builder.device))
    if saved is not None:
        try:
            restore(trainer, saved, touched_by(changes))
        except ConfigError as error:
            raise config.placed(error.faults) from None
    # All is known to work: only now the run's folder is written to.
    if saved is not None and name is not None:
        set_newer_aside(store, saved)
    note.add_to(folder.path)
    over = state in DONE and not changes and saved is not None and is_complete(saved, config)
    if not over:
        if changes:
            with writing(folder.path):
                files.replace_file(folder.path / CONFIG, config.to_yaml().encode())
        _attach_outputs(stack, trainer, builder, folder, saved)
    if over:
        log.info("%s is over already: %s", folder.path, state)
        return Run(folder.path, config, state, 0, trainer.monitor.best, trainer)
    progress = trainer.progress
    log.info("resuming %s at epoch %d, step %d", folder.path, progress.epoch, progress.step)
    return _train(trainer, folder, config, callbacks)


def _train(trainer: BaseTrainer, folder: RunDir, config: Config, callbacks: Sequence[Callback]) -> Run:
    trainer.parts.callbacks += callbacks
    gc_resume()
    try:
        reason = trainer.fit()
    except Exception as error:
        log.info("the run ended with an error", exc_info=True)  # the traceback, for train.log alone
        assert trainer.store is not None
        names = trainer.store.names()
        last = f"the last good checkpoint is {trainer.store.folder / names[-1]}" if names else "nothing was saved yet"
        if isinstance(error, NotFiniteError):
            raise NotFiniteError(f"{error}; {last}") from None
        if ran_out_of_memory(error):
            size = config.settings.data.loader.batch_size
            mend = f"lower data.loader.batch_size ({size}) and raise trainer.accumulate with it"
            raise OutOfMemoryError(f"out of memory in {trainer.where()}: {mend}; {last}") from error
        raise
    return Run(folder.path, config, reason, trainer.request.signal, trainer.monitor.best, trainer)


def _attach_outputs(
    stack: ExitStack, trainer: BaseTrainer, builder: Builder, folder: RunDir, saved: Checkpoint | None = None
) -> None:
    """Gives a trainer its log, its checkpoints and its ears for signals: from here on it leaves traces."""
    from base.checkpoint.store import CheckpointStore
    from utils.model_summary import describe

    settings = builder.settings.trainer
    trainer.log = WRITERS.get("run_log")(
        folder.path,
        header={
            "data": builder.data.decisions["data"],
            "name": folder.path.parent.name,
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
    trainer.store = CheckpointStore(folder.checkpoints, settings.keep, settings.keep_every)
    trainer.request.stop_file = folder.path / "STOP"


def _save_split(folder: RunDir, builder: Builder) -> None:
    if builder.data.split:
        from safetensors.torch import save

        files.replace_file(folder.path / SPLIT, save(dict(builder.data.split)))
