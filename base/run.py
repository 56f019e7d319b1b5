"""The life of a run: started or resumed, trained, and left so that it can be resumed or tested.

    from base import fit, evaluate

    run = fit("configs/fashion_mnist.yaml", {"optimizer.args.lr": 0.01})
    scores = evaluate(run.path)

These raise; the scripts turn what is raised into an exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import CheckpointError, ConfigError
from base.registry import WRITERS
from base.run_folder import SYNTHETIC, RunFolder, resolve_resume
from utils import files

if TYPE_CHECKING:
    from torch import nn

    from base.base_trainer import BaseTrainer
    from base.build import Builder
    from base.config import Config
    from base.saved import Saved

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
    force: bool = False,
    command: Sequence[str] = (),
) -> Run:
    """Starts a run from a config, or goes on with one where it stopped.

    On a resume the run's own config is the base and `overrides` are differences, judged by what they would do to the
    run; `force` lets pass those that change its course. Raises ConfigError, CheckpointError, DataError, NotFiniteError,
    WriteError, or what the user's own code raises.
    """
    with ExitStack() as stack:
        if resume is not None:
            trainer, folder, settled = _resume(stack, resume, overrides, force)
        else:
            assert config is not None
            trainer, folder, settled = _start(stack, config, overrides, command)
        reason = trainer.fit()
        return Run(folder.path, settled, reason, trainer.request.signal, trainer.monitor.best, trainer)


def check(config: str | Path, overrides: Overrides = ()) -> Config:
    """Both passes over a config: its text, then what needs data and a model. Writes nothing."""
    settled = _read(config, overrides)
    _build(settled)
    return settled


def _read(path: str | Path, overrides: Overrides = ()) -> Config:
    """The first pass; a file that cannot be read is refused before torch is imported."""
    from base.config import Config

    config = Config.read(path, overrides)
    WRITERS.get("console")(config.settings.trainer.verbosity)
    return config


def _build(config: Config, kept: Mapping[str, Any] | None = None) -> tuple[BaseTrainer, Builder]:
    """The second pass, which is the building itself; nothing is written yet."""
    from base.build import Builder

    builder = Builder(config, kept)
    log.info("Using %s device", builder.device)
    for name, loader in builder.loaders().items():
        log.info("%-12s %s samples in %s batches", name, f"{loader.size:,}", f"{len(loader):,}")
    parts = builder.parts()
    trainer = builder.trainer(parts)
    builder.add_training(parts)
    return trainer, builder


def _start(
    stack: ExitStack, path: str | Path, overrides: Overrides, command: Sequence[str]
) -> tuple[BaseTrainer, RunFolder, Config]:
    config = _read(path, overrides)
    trainer, builder = _build(config)

    from utils.environment import environment

    synthetic = builder.data.decisions.get("data") == "synthetic"
    name = config.settings.name.removesuffix(SYNTHETIC) + SYNTHETIC * synthetic
    folder = RunFolder.create(config.settings.trainer.save_dir, name)
    stack.enter_context(folder.lock())
    resolved = config.to_dict() | {"name": name}
    resolved["optimizer"] = resolved["optimizer"] | {"fused": builder.fused}
    files.replace_file(folder.path / "config.yaml", (_header(config, synthetic) + to_yaml(resolved)).encode())
    files.replace_file(folder.path / "environment.json", environment(str(builder.device), command).encode())
    _save_split(folder, builder)

    _equip(stack, trainer, builder, folder)
    return trainer, folder, config


def _resume(
    stack: ExitStack, path: str | Path, overrides: Overrides, force: bool
) -> tuple[BaseTrainer, RunFolder, Config]:
    from base.checkpoint import CheckpointStore
    from base.state import restore

    folder, name = resolve_resume(path)
    before, config = _read(folder.path / "config.yaml"), _read(folder.path / "config.yaml", overrides)
    stack.enter_context(folder.lock())
    store = CheckpointStore(folder.checkpoints)
    store.clean()
    saved = store.load(name)
    _judge_differences(before, config, saved, force)
    if name is not None and saved.name != store.names()[-1]:
        store.abandon(saved.name, datetime.now().strftime("%Y%m%d-%H%M%S"))

    trainer, builder = _build(config, kept=saved.info["data"])
    _equip(stack, trainer, builder, folder, saved)
    try:
        restore(trainer, saved)
    except RuntimeError as error:
        raise CheckpointError(f"{saved.path}: does not fit the model: {error}") from None
    log.info("resuming %s from %s: epoch %d, step %d", folder.path, saved.name, saved.info["epoch"], saved.info["step"])
    return trainer, folder, config


def _equip(
    stack: ExitStack, trainer: BaseTrainer, builder: Builder, folder: RunFolder, saved: Saved | None = None
) -> None:
    """Gives a trainer its log, its checkpoints and its ears for signals: from here on it leaves traces."""
    from base.checkpoint import CheckpointStore

    settings = builder.settings.trainer
    trainer.log = WRITERS.get("run_log")(
        folder.path,
        header={
            "data": builder.data.decisions.get("data", "real"),
            "name": folder.path.parent.name,
            "metrics": list(trainer.eval_metrics),
            "valid_sets": list(builder.data.valid),
        },
        tensorboard=settings.tensorboard,
        verbosity=settings.verbosity,
        monitor=trainer.monitor.name,
        epochs=settings.epochs,
        lengths=saved.state["logs"] if saved else None,
        purge_step=saved.info["step"] + 1 if saved else None,
    )
    stack.callback(trainer.log.close)
    trainer.store = CheckpointStore(folder.checkpoints, settings.keep, settings.keep_every)
    trainer.request.stop_file = folder.path / "STOP"


def _header(config: Config, synthetic: bool) -> str:
    lines = [f"# made from {config.source}"]
    if synthetic:
        lines.append("# trained on SyntheticFashion, look-alikes drawn by the project: the real files were not to be had")
    return "\n".join(lines) + "\n"


def to_yaml(tree: Mapping[str, Any]) -> str:
    import yaml

    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, width=120)


def _save_split(folder: RunFolder, builder: Builder) -> None:
    if builder.data.split:
        from safetensors.torch import save

        files.replace_file(folder.path / "split.safetensors", save(dict(builder.data.split)))


def _judge_differences(before: Config, after: Config, saved: Saved, force: bool) -> None:
    from base.config import difference

    mid_epoch = saved.info["phase"] != "epoch end"
    faults = []
    for change in difference(before, after):
        verdict = change.verdict
        if verdict == "epoch_end":
            verdict = "impossible" if mid_epoch else "force"
        log.info("%s: %s -> %s (%s)", change.key, change.before, change.after, verdict)
        if verdict == "impossible":
            where = "in the middle of an epoch" if change.verdict == "epoch_end" else "on resume"
            raise CheckpointError(f"{change.key} cannot change {where}: {change.before!r} -> {change.after!r}")
        if verdict == "force" and not force:
            faults.append(after.fault(change.key, f"differs from the run's {change.before!r}", hint="--force takes it"))
    if faults:
        raise ConfigError(faults, str(saved.path))

