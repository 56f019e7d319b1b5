"""The life of a run: `fit` starts or resumes a run and trains it; `check` only checks a config.

    from base import fit, evaluate

    run = fit("configs/fashion_mnist.yaml", {"optimizer.args.lr": 0.01})
    scores = evaluate(run.path)

Both raise exceptions; base/cli.py turns them into exit codes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import Fault, NotFiniteError, OutOfMemoryError, UserError, ran_out_of_memory
from base.registry import WRITERS
from base.runs.lock import refuse_several_processes
from base.runs.run_dir import ASKED, CONFIG, Note, RunDir, resolve_resume
from base.runs.start import NewRun, check_save_dir
from utils.process import gc_resume

if TYPE_CHECKING:
    from torch import nn

    from base.config import Config
    from base.loop.base_trainer import BaseTrainer
    from base.loop.callback import Callback
    from base.runs.resume import ResumedRun

Overrides = Sequence[str] | Mapping[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The result of `fit`."""

    path: Path
    config: Config
    reason: str
    """Why it ended: finished, early_stop, max_time, signal, or a callback's own reason."""
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
    """Starts a run from a config, or resumes one where it stopped.

    `resume` is a run or one of its checkpoints. It uses the run's own config, changed by `config` and `overrides`;
    `force` allows changes that alter the course of the run. `newest` resumes the newest run of the config's name.
    `auto` does so if that run is unfinished and its config is equal, and otherwise starts a new run. `note` and `tags`
    are stored with the run; `callbacks` are added to those of the config. Raises a subclass of UserError
    (base/errors.py), or whatever the user's own code raises.
    """
    with ExitStack() as stack:
        # A start and a resume differ only in this line, which returns a NewRun or a ResumedRun.
        plan = _plan(config, overrides, resume, newest, auto, force, plugins, Note(note, tuple(tags)), command)
        from base.build import Builder  # imports torch, which is not needed for a config that cannot be read
        from base.checks.start import StartChecks

        builder = Builder(plan.config, plan.claim(stack))
        data = builder.load_data()
        checks = StartChecks(builder)
        models = builder.build_models()
        losses = builder.build_losses()
        components = builder.components(data, models, losses)
        trainer = builder.build_trainer(components)
        checks.dry_run(trainer)
        builder.add_optimizers(components, callbacks)
        checks.report(trainer)
        run_dir = plan.open(trainer, builder, stack)
        return _train(trainer, run_dir, plan)


def check(config: str | Path, overrides: Overrides = (), plugins: Sequence[str] = ()) -> list[Fault]:
    """Checks a config's text, then builds what it describes and runs one training batch. Writes nothing.

    Returns the warnings; raises the same exceptions as `fit`.
    """
    settled = _read(config, overrides, plugins)
    from base.build import Builder
    from base.checks.start import build_checked

    check_save_dir(settled)
    return build_checked(Builder(settled), try_training=True)[1]


def _plan(
    config: str | Path | None,
    overrides: Overrides,
    resume: str | Path | None,
    newest: bool,
    auto: bool,
    force: bool,
    plugins: Sequence[str],
    note: Note,
    command: Sequence[str],
) -> NewRun | ResumedRun:
    """The run to start, or the run to resume with its config and the changes to it."""
    asked = _read(config, overrides, plugins) if config is not None else None
    run_dir: RunDir | None = None
    name: str | None = None
    if resume is not None:
        run_dir, name = resolve_resume(resume)
    elif asked is None:
        raise UserError("fit needs a config to start from, or a run to resume")
    elif newest or auto:
        from base.runs.resume import newest_of, unfinished_of

        run_dir = newest_of(asked) if newest else unfinished_of(asked, plugins)
    if run_dir is None:
        assert asked is not None
        return NewRun(asked, note, command)
    from base.runs.resume import ResumedRun, differences_as_overrides

    if asked is not None:
        overrides = differences_as_overrides(_read(run_dir.path / ASKED, (), plugins, of_run=True), asked)
    before = _read(run_dir.path / CONFIG, (), plugins, of_run=True)
    after = _read(run_dir.path / CONFIG, overrides, plugins, of_run=True)
    return ResumedRun(run_dir, name, before, after, force, note)


def _read(path: str | Path, overrides: Overrides = (), plugins: Sequence[str] = (), of_run: bool = False) -> Config:
    """Reads and checks a config's text. A file that cannot be read is refused before torch is imported."""
    from base.config import Config

    refuse_several_processes()
    config = Config.read(path, overrides, plugins=plugins, of_run=of_run)
    WRITERS.get("console")(config.settings.trainer.verbosity)
    for note in config.notes:
        log.info("%s", note)
    return config


def _train(trainer: BaseTrainer, run_dir: RunDir, plan: NewRun | ResumedRun) -> Run:
    """Trains until the end, unless the run is already finished. Errors name the last good checkpoint."""
    reason, signal = plan.over, 0
    if not plan.over:
        gc_resume()
        try:
            reason, signal = trainer.fit(), trainer.request.signal
        except Exception as error:
            log.info("the run ended with an error", exc_info=True)  # the traceback, for train.log alone
            assert trainer.store is not None
            names = trainer.store.names()
            saved = (
                f"the last good checkpoint is {trainer.store.folder / names[-1]}" if names else "nothing was saved yet"
            )
            if isinstance(error, NotFiniteError):
                raise NotFiniteError(f"{error}; {saved}") from None
            if ran_out_of_memory(error):
                size = plan.config.settings.data.loader.batch_size
                advice = f"lower data.loader.batch_size ({size}) and raise trainer.accumulate with it"
                raise OutOfMemoryError(f"out of memory in {trainer.where()}: {advice}; {saved}") from error
            raise
    return Run(run_dir.path, plan.config, reason, signal, trainer.monitor.best, trainer)
