"""The checkpoints of a run: written in the background, atomic and verified. The last good one is never given up."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from base.checkpoint.format import Checkpoint, plain, read_manifest, write_save
from base.checkpoint.snapshot import Buffers, Snapshot
from base.errors import CheckpointError, UserError, WriteError
from base.runs.run_dir import BEST, LAST, save_name, save_number, saves_in
from utils import files

log = logging.getLogger(__name__)

REJECTED, ABANDONED = "rejected", "abandoned-"
_MARGIN = 1 << 20  # bytes that a save takes beside its tensors


class CheckpointStore:
    """The folder `checkpoints/` of one run; made with the first save. One process writes, under the run's lock.

    Guaranteed, also if the process is killed or the power fails at any instant:
    - a folder with a save's name is complete and on the disk: a temporary one beside it, fsync of its files and of
      itself, rename, fsync of the parent;
    - from the first save on there is a good one: older ones are deleted only after that;
    - the newest save has the largest number and none is given twice, whatever was deleted, rejected or abandoned.
    Where a filesystem lacks fsync or rename, `utils.files` says what is weaker.

    One save is written at a time: `save` waits for the one before, and the loop does at each epoch's end.

    `last` and `best` are small files for people and scripts, replaced after each save. The store goes by the saves'
    manifests and corrects the files. `last` never goes back: it remembers the counter when the newest save is lost.

    `keep` (at least 1): the newest saves that stay. The best one stays, and with `keep_every` (at least 1) every save
    whose number it divides.
    """

    def __init__(self, folder: Path, keep: int = 3, keep_every: int | None = None) -> None:
        assert keep >= 1 and (keep_every is None or keep_every >= 1)
        self.folder = folder
        self.keep = keep
        self.keep_every = keep_every
        self._buffers = Buffers()
        self._writer: _Writer | None = None
        self._name = ""
        self._error: BaseException | None = None
        self._warned = False

    # --- saving ------------------------------------------------------------------------------------------------------

    def save(
        self,
        weights: Mapping[str, Any],
        state: Mapping[str, Any],
        info: Mapping[str, Any],
        *,
        best: bool = False,
        raw: Mapping[str, Any] | None = None,
        before_commit: Callable[[], None] = lambda: None,
        after_commit: Callable[[str], None] = lambda name: None,
    ) -> None:
        """Copy everything, start to write it in the background, and return: from then on training may go on.

        `weights` and `raw` are state_dicts (`raw` beside averaged ones); `state` holds tensors and plain values; `info`
        is what JSON holds, among it `step`, and goes to the manifest. `best` marks an improvement on all saves before.
        The writing thread calls `before_commit` just before the save comes into being, which an exception prevents,
        and `after_commit` with its name when it is safe.

        Waits for the save before, and raises what that one met. CheckpointError names what could not be read back,
        WriteError says that there is no room: nothing was written then.
        """
        assert not info.keys() & {"save", "best", "format", "files", "sha256"}
        self.join()
        manifest = {"save": self._next_number(), **plain(info), "best": best}
        snapshot = self._buffers.take(weights, state, raw)
        self._look_for_room(snapshot.bytes + _MARGIN)
        self._name = save_name(manifest["save"], info["step"])
        self._writer = _Writer(
            target=self._run, args=(snapshot, manifest, before_commit, after_commit), name="checkpoint writer"
        )
        self._writer.start()

    def join(self) -> None:
        """Wait until nothing is being written; raise what the writer met, WriteError for any fault of the disk."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        error, self._error = self._error, None
        cause = None if isinstance(error, UserError) else files.os_error(error)
        if cause is not None:
            raise self._cannot_write(self.folder / self._name, cause.strerror or str(cause)) from error
        if error is not None:
            raise error

    def _run(
        self,
        snapshot: Snapshot,
        manifest: Mapping[str, Any],
        before_commit: Callable[[], None],
        after_commit: Callable[[str], None],
    ) -> None:
        try:
            self._write(snapshot, manifest, before_commit)
            after_commit(self._name)
            self._delete_old(self._update_pointers())
        except BaseException as error:  # for the thread that trains: join() raises it
            self._error = error

    def _write(self, snapshot: Snapshot, manifest: Mapping[str, Any], before_commit: Callable[[], None]) -> None:
        temporary = self.folder / (files.TEMPORARY + self._name)
        try:
            if not self.folder.exists():
                files.disk.mkdir(self.folder)
                files.disk.sync_folder(self.folder.parent)
            files.remove_tree(temporary)
            write_save(temporary, snapshot, manifest)
            before_commit()
            files.rename(temporary, self.folder / self._name)
        except Exception:
            try:
                files.remove_tree(temporary)
            except OSError as error:
                log.warning("%s: could not be removed: %s", temporary, error.strerror)
            raise

    def _look_for_room(self, needed: int) -> None:
        try:
            room = shutil.disk_usage(self.folder if self.folder.exists() else self.folder.parent)
        except OSError as error:
            if error.errno in files.UNSUPPORTED:
                return
            raise self._cannot_write(self.folder, error.strerror or str(error)) from error
        if not room.total:  # a filesystem that does not say
            return
        sizes = f"it takes {needed / 1e6:,.1f} MB, {room.free / 1e6:,.1f} MB are free"
        if room.free < needed:
            raise self._cannot_write(self.folder, f"no space left: {sizes}")
        if room.free < 3 * needed and not self._warned:
            self._warned = True
            log.warning("%s: little room for checkpoints: %s", self.folder, sizes)

    def _cannot_write(self, path: Path, cause: str) -> WriteError:
        names = self.names()
        rest = f"earlier ones are intact, the newest is {names[-1]}" if names else "there is no earlier one"
        return WriteError(f"{path}: the checkpoint cannot be written: {cause}; {rest}")

    def _delete_old(self, best: str | None) -> None:
        names = self.names()
        kept = {*names[-self.keep :], best}
        for name in names:
            if name not in kept and not (self.keep_every and save_number(name) % self.keep_every == 0):
                try:
                    files.discard(self.folder / name)
                except OSError as error:  # no reason to end a run whose new save is safe
                    log.warning("%s: an old checkpoint could not be deleted: %s", self.folder / name, error.strerror)

    def clean(self) -> None:
        """Remove what a killed process left unfinished, and correct `last` and `best`. Only under the run's lock."""
        if not self.folder.exists():
            return
        try:
            for path in self.folder.glob(files.TEMPORARY + "*"):
                if path.is_dir():
                    files.remove_tree(path)
                else:
                    files.disk.unlink(path)
            self._update_pointers()
        except OSError as error:
            raise self._cannot_write(self.folder, error.strerror or str(error)) from error

    # --- which saves there are ---------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The saves there are, oldest first; not looked into."""
        return saves_in(self.folder)

    def best(self) -> str | None:
        """The newest save that was an improvement when it was made; None if there is none."""
        pointed = self._pointed(BEST)
        for name in reversed(self.names()):
            try:
                if read_manifest(self.folder / name)["best"]:
                    return name
            except CheckpointError:
                if name == pointed:  # damaged, and still the best one: whoever asks for it is told so
                    return name
        return None

    def resolve(self, name: str) -> str:
        """The save that "best", "last" or a save's own name stands for; CheckpointError if it is not there."""
        names = self.names()
        found = self.best() if name == BEST else names[-1] if names and name == LAST else name
        if found is None or found not in names:
            there = f"expected one of {', '.join(names)}" if names else "there is none yet"
            raise CheckpointError(f"{self.folder}: no checkpoint {name!r}; {there}")
        return found

    def _next_number(self) -> int:
        folders = [self.folder, self.folder / REJECTED, *self.folder.glob(ABANDONED + "*")]
        names = [name for folder in folders for name in saves_in(folder)]
        return 1 + max(map(save_number, [*names, self._pointed(LAST)]), default=-1)

    def _pointed(self, pointer: str) -> str:
        """What the small file says, if it is the name of a save; the empty text otherwise."""
        try:
            name = (self.folder / pointer).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return ""
        return name if save_number(name) >= 0 else ""

    def _update_pointers(self) -> str | None:
        """Gives the best save."""
        names = self.names()
        if names and save_number(names[-1]) > save_number(self._pointed(LAST)):
            files.replace_file(self.folder / LAST, f"{names[-1]}\n".encode())
        best = self.best()
        if best and best != self._pointed(BEST):
            files.replace_file(self.folder / BEST, f"{best}\n".encode())
        elif not best and (self.folder / BEST).exists():
            files.disk.unlink(self.folder / BEST)
        return best

    # --- loading -----------------------------------------------------------------------------------------------------

    def load(self, name: str | None = None) -> Checkpoint:
        """The newest good save; those that are damaged are moved to `rejected/`, with one warning each.

        That changes the folder: only under the run's lock. With a name (`best`, `last` or a save's own): that one or
        CheckpointError, never another.
        """
        self.join()
        if name is not None:
            return self._load(name)
        rejected = []
        for candidate in reversed(self.names()):
            try:
                return Checkpoint(self.folder / candidate)
            except CheckpointError as error:
                log.warning("checkpoint rejected: %s; %s", error, self._reject(candidate))
                rejected.append(candidate)
        found = f"all were rejected: {', '.join(rejected)}" if rejected else "there is none"
        raise CheckpointError(f"{self.folder}: no checkpoint to go on from: {found}")

    def _load(self, name: str) -> Checkpoint:
        while True:
            path = self.folder / self.resolve(name)
            try:
                return Checkpoint(path)
            except CheckpointError:
                if path.exists():
                    raise
                # Deleted between the look and the reading, by a run that goes on: it has a newer best or last.

    def _reject(self, name: str) -> str:
        try:
            return f"moved to {self._move(name, self.folder / REJECTED)}"
        except OSError as error:
            return f"it stays in its place: {error.strerror}"

    def abandon(self, after: str, stamp: str) -> Path:
        """Move the saves newer than `after` to the folder `abandoned-<stamp>/` and return it. Only under the lock."""
        target = self.folder / (ABANDONED + stamp)
        for name in reversed(self.names()):  # newest first: killed in between, what is left is an unbroken history
            if save_number(name) > save_number(after):
                self._move(name, target)
        return target

    def _move(self, name: str, folder: Path) -> Path:
        if not folder.exists():
            files.disk.mkdir(folder)
        target = folder / name
        count = 1
        while target.exists():
            count += 1
            target = folder / f"{name}-{count}"
        files.rename(self.folder / name, target)
        return target


class _Writer(threading.Thread):
    """Writes one save."""


def _wait_for_writers() -> None:
    """A forked process has the locks that a thread held, but not the thread: it could wait for them for ever."""
    for thread in threading.enumerate():
        if isinstance(thread, _Writer) and thread is not threading.current_thread():
            thread.join()


if hasattr(os, "register_at_fork"):  # not on Windows, where no process is forked
    os.register_at_fork(before=_wait_for_writers)
