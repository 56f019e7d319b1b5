"""Resuming a run: which run and checkpoint, and whether the changes since are allowed."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

from base.checkpoint.expected import loading
from base.checkpoint.format import STATE
from base.checkpoint.restore import restore
from base.checkpoint.store import CheckpointStore
from base.checkpoint.verify import check_fit, check_save
from base.errors import CheckpointError, ConfigError, writing
from base.runs.difference import difference
from base.runs.run_dir import ASKED, CONFIG, SPLIT, Note, RunDir, newest_run
from base.runs.start import attach_outputs
from utils import files

if TYPE_CHECKING:
    from base.build import Builder
    from base.checkpoint.format import Checkpoint
    from base.config import Config
    from base.loop.base_trainer import BaseTrainer
    from base.protocols import DataSets
    from base.runs.difference import Difference

DONE = ("finished", "early_stop")
log = logging.getLogger(__name__)


class ResumedRun:
    """A run that resumes from one of its checkpoints; `before` is its config, `config` the same with the changes."""

    def __init__(
        self, run_dir: RunDir, name: str | None, before: Config, config: Config, force: bool, note: Note
    ) -> None:
        self.run_dir, self.name, self.config, self.force, self.note = run_dir, name, config, force, note
        self.changes = difference(before, config)
        self.state = run_dir.state()
        self.saved: Checkpoint | None = None
        self.over = ""
        """How the run ended, if nothing is left to train."""

    def claim(self, stack: ExitStack) -> Mapping[str, Any]:
        """Locks the run until `stack` ends, chooses the checkpoint, and checks it and the changes. Returns the run's
        decisions about its data."""
        stack.enter_context(self.run_dir.lock())
        self.saved = choose_save(CheckpointStore(self.run_dir.checkpoints), self.name)
        if self.saved is not None:
            check_save(self.saved)
            self.changes = self._changes_since(self.saved)
        check_changes(self.changes, self.config, self.saved, self.force)
        return self.saved.info["data"] if self.saved else {}

    def _changes_since(self, saved: Checkpoint) -> list[Difference]:
        """The changes from the config in the checkpoint, because the run's config.yaml may have been edited by hand."""
        from base.config import Config

        values = saved.state["config"]
        if values is None:  # format 1
            return self.changes
        with loading(saved.path / STATE):
            allowed = self.config.settings.plugins
            before = Config.from_dict(values, source=str(saved.path / STATE), plugins=allowed)
        return difference(before, self.config)

    def open(self, trainer: BaseTrainer, builder: Builder, stack: ExitStack) -> RunDir:
        """Restores the trainer. Writes to the run's directory only afterwards, when everything is known to work."""
        check_data(self.saved, trainer.data, self.run_dir, self.force)
        if self.saved is not None:
            check_fit(trainer, self.saved, forced=any(change.verdict != "harmless" for change in self.changes))
        warn_of_other_machine(self.run_dir, str(builder.device))
        if self.saved is not None:
            self._restore(trainer, self.saved)
        self.note.add_to(self.run_dir.path)
        if self.state in DONE and not self.changes and self.saved is not None and is_complete(self.saved, self.config):
            self.over = self.state
            log.info("%s is over already: %s", self.run_dir.path, self.state)
            return self.run_dir
        if self.changes:
            with writing(self.run_dir.path):
                files.replace_file(self.run_dir.path / CONFIG, self.config.to_yaml().encode())
        attach_outputs(trainer, builder, self.run_dir, stack, self.saved)
        if any(change.verdict != "harmless" for change in self.changes):
            trainer.save()  # so that a checkpoint records the config with which the run continues
        progress = trainer.progress
        log.info("resuming %s at epoch %d, step %d", self.run_dir.path, progress.epoch, progress.step)
        return self.run_dir

    def _restore(self, trainer: BaseTrainer, saved: Checkpoint) -> None:
        try:
            restore(trainer, saved, touched_by(self.changes))
        except ConfigError as error:
            raise self.config.placed(error.faults) from None
        if self.name is not None:
            set_newer_aside(CheckpointStore(self.run_dir.checkpoints), saved)


def newest_of(config: Config) -> RunDir:
    """The newest run of a config's name."""
    folder = newest_run(config.settings.trainer.save_dir, config.settings.name)
    if folder is None:
        place = f"{config.settings.trainer.save_dir}/{config.settings.name}"
        raise CheckpointError(
            f"{place}: there is no run of this name to resume; leave out --resume-newest to start one"
        )
    return folder


def unfinished_of(config: Config, plugins: Sequence[str] = ()) -> RunDir | None:
    """The newest run of a config's name, if it has an equal config and is neither finished nor running."""
    from base.config import Config

    folder = newest_run(config.settings.trainer.save_dir, config.settings.name)
    if folder is None or folder.is_locked():
        return None
    started = Config.read(folder.path / ASKED, plugins=plugins, of_run=True)
    return None if difference(started, config) else folder


def differences_as_overrides(before: Config, after: Config) -> dict[str, Any]:
    """The overrides that turn one config into the other, by key: null removes a key, lists are replaced as a whole."""
    overrides: dict[str, Any] = {}
    for change in difference(before, after):
        key = re.sub(r"\.\d+(\..*)?$", "", change.key)
        value: Any = after.to_dict()
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        overrides[key] = value
    return overrides


def choose_save(store: CheckpointStore, name: str | None) -> Checkpoint | None:
    """The checkpoint to resume from; None if the run was killed before its first one. The run must be locked."""
    store.clean()
    if name is None and not store.names() and not (store.folder / "rejected").exists():
        return None
    return store.load(name)


def set_newer_aside(store: CheckpointStore, saved: Checkpoint) -> None:
    """For a resume from an older checkpoint: moves the newer ones and copies of the logs to a separate folder."""
    if store.names()[-1:] == [saved.name]:
        return
    aside = store.abandon(saved.name, datetime.now().strftime("%Y%m%d-%H%M%S"))
    for path in sorted(store.folder.parent.iterdir()):
        if path.name == "metrics.jsonl" or path.name.startswith("events.out.tfevents"):
            kept = aside / path.name.replace("tfevents", "abandoned")  # else TensorBoard would show them as a run
            files.replace_file(kept, path.read_bytes())
    log.info("resuming from %s: everything newer was moved to %s", saved.name, aside)


def is_complete(saved: Checkpoint, config: Config) -> bool:
    """True if nothing is left to train after this checkpoint."""
    trainer = config.settings.trainer
    stopped = trainer.early_stop is not None and saved.state["monitor"]["waited"] >= trainer.early_stop
    return saved.info["phase"] == "epoch end" and (saved.info["epoch"] >= trainer.epochs or stopped)


def check_changes(changes: Sequence[Difference], after: Config, saved: Checkpoint | None, force: bool) -> None:
    """Logs every difference. Refuses those that the run cannot accept, or accepts only with `force`.

    With `force`, data and batch size may change between epochs.
    """
    faults = []
    between = saved is None or saved.info["phase"] == "epoch end" or saved.info["step"] == 0
    for change in changes:
        verdict = ("force" if between else "impossible") if change.verdict == "epoch_end" else change.verdict
        log.info("changed: %s: %r -> %r (%s)", change.key, change.before, change.after, verdict)
        if verdict == "impossible":
            when = "in the middle of an epoch" if change.verdict == "epoch_end" else "once a run has begun"
            raise CheckpointError(
                f"{change.origin_after}: {change.key} cannot change {when}: {change.before!r} -> {change.after!r}; "
                "a new run with it starts with -c"
            )
        if verdict == "force" and not force:
            hint = "it changes the course of the run: --force does it all the same"
            faults.append(
                after.fault(change.key, f"differs from the run's {change.before!r}", repr(change.after), hint=hint)
            )
    if faults:
        raise ConfigError(faults, "the resumed run")


def check_data(saved: Checkpoint | None, data: DataSets, folder: RunDir, force: bool) -> None:
    """Refuses different data under the same config: changed files or a different split."""
    if saved is None:
        return
    now, then = data.decisions["fingerprint"], saved.info["data"]["fingerprint"]
    changed = [name for name, mark in then.items() if now.get(name) not in (None, mark)]
    if data.split != {} and not _same_split(folder, data):
        changed.append("the split into training and validation")
    if not changed:
        return
    what = f"{folder.path}: not the data that the run began with: {', '.join(changed)}"
    if saved.info["phase"] != "epoch end" and saved.info["step"]:
        raise CheckpointError(f"{what}; in the middle of an epoch it must be")
    if not force:
        raise CheckpointError(f"{what}; --force goes on with it")
    log.warning("%s", what)


def _same_split(folder: RunDir, data: DataSets) -> bool:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        kept = load((folder.path / SPLIT).read_bytes())
    except FileNotFoundError:
        return True
    except SafetensorError as error:
        raise CheckpointError(f"{folder.path / SPLIT}: damaged: {error}") from None
    return kept.keys() == data.split.keys() and all(torch.equal(kept[name], part) for name, part in data.split.items())


def touched_by(changes: Sequence[Difference]) -> set[str]:
    """The parts of all changed keys that alter the course of the run."""
    return {word for change in changes if change.verdict != "harmless" for word in change.key.split(".")}


def warn_of_other_machine(folder: RunDir, device: str) -> None:
    """Warns if the run started with other versions or on another processor, since its bits may then differ."""
    from utils.environment import machine

    try:
        then: dict[str, Any] = json.loads((folder.path / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = machine(device)
    pairs = {key: (then.get(key), now[key]) for key in ("cpu_capability", "threads", "device")}
    pairs["torch"] = (then.get("packages", {}).get("torch"), now["packages"]["torch"])
    differing = ", ".join(f"{key} {a} -> {b}" for key, (a, b) in pairs.items() if a != b)
    if differing:
        log.warning("%s: %s: the resumed run need not be equal to the last bit", folder.path, differing)
