"""Whether a run can go on from a save of format 1, which counted by samples what is counted differently today."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from base.errors import CheckpointError, listing
from base.loop.counts import KEPT, checked
from base.protocols import Unpacks
from base.runs.run_dir import save_number
from utils.batches import parts_of, size_of

if TYPE_CHECKING:
    from base.checkpoint.format import Checkpoint
    from base.checkpoint.state import RunningTrainer

log = logging.getLogger(__name__)


def look_at_counts(trainer: RunningTrainer, saved: Checkpoint) -> None:
    """One line if this run counts something differently. CheckpointError if the save lies within an epoch: its sums
    cannot be continued."""
    changed = _counted_differently(trainer)
    if not changed:
        return
    what = f"{saved.path} was saved by an earlier version, which counted differently: {listing(changed, 'and')}"
    if saved.info["phase"] == "epoch end" or not saved.info["step"]:
        log.warning("%s; from here on the new rules apply", what)
        return
    ends = [name for name in _ends_of_epochs(saved) if save_number(name) < save_number(saved.name)]
    instead = f"resume from {saved.path.parent / ends[-1]}" if ends else "start anew, with init_from for its weights"
    raise CheckpointError(f"{what}; the sums of an unfinished epoch cannot be continued: {instead}")


def _counted_differently(trainer: RunningTrainer) -> list[str]:
    """Format 1 counted every loss of a batch by its samples, and a term that only some batches have in all."""
    objects = trainer.states.objects.items()
    kept = [one for path, one in objects if path.startswith("losses.") and isinstance(one, KEPT)]
    changed = ["the average of trainer.ema"] * bool(trainer.parts.averages)
    batch = next(iter(trainer.data.train.batches()), None)
    if batch is not None and not _counts_by_samples(trainer, batch, several=bool(kept)):
        changed.append("the losses (now means over what counts in them, not over samples)")
    ignoring = [type(one).__name__ for one in kept if one.ignore_index is not None and one.ignore_index >= 0]
    return changed + [f"{name} (now without the targets that it ignores)" for name in ignoring]


def _counts_by_samples(trainer: RunningTrainer, batch: Any, several: bool) -> bool:
    """With `several`, a loss may leave out some of the positions of a sample, which this batch need not show."""
    size, counts = size_of(batch), checked(trainer.count(batch))
    target = trainer.unpack(batch)[1] if isinstance(trainer, Unpacks) else batch
    if several and any(one.numel() != size for one in _tensors_in(target) if not one.is_floating_point()):
        return False
    each = counts.values() if isinstance(counts, Mapping) else [counts]
    return all(type(one) is int and one == size for one in each)


def _tensors_in(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [one for part in parts_of(value) for one in _tensors_in(part)]


def _ends_of_epochs(saved: Checkpoint) -> list[str]:
    names = []
    for folder in saved.path.parent.glob("*-step-*"):
        try:
            if json.loads((folder / "manifest.json").read_bytes())["phase"] == "epoch end":
                names.append(folder.name)
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return sorted(names, key=save_number)
