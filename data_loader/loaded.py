"""What the loaders are built into: everything a run learns from and is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from base.protocols import Loader, SetFacts, TrainingLoader
from data_loader.open_datasets import DatasetSplit
from utils.batches import SampleKeys


@dataclass
class LoadedData:
    """What `standard` gives: see base.protocols.DataSets."""

    train: TrainingLoader
    valid: dict[str, Loader]
    test: dict[str, Loader]
    facts: Mapping[str, Any]
    decisions: dict[str, Any]
    split: dict[str, Tensor] = field(default_factory=dict)
    places: SampleKeys = field(default_factory=SampleKeys)
    opened: dict[str, DatasetSplit] = field(default_factory=dict)
    """By label: what the loaders read from."""
    _about: dict[str, SetFacts] = field(default_factory=dict)

    def components(self) -> dict[str, Any]:
        """See base.protocols.DataSets. What workers read changes in them alone, and a stream says itself where it
        stands."""
        found: dict[str, Any] = {}
        read = [(label, one) for label, one in self.opened.items() if one.samples is not None and not one.streamed]
        for label, one in read:
            assert one.samples is not None
            parts = {"dataset": one.dataset, "collate": one.samples.collate}
            for kind in ("transform", "target_transform"):
                steps = getattr(one.samples, kind).transforms
                parts |= {f"{kind}.{number}": step for number, step in enumerate(steps)}
            if one.loader is not None:
                parts["loader"] = one.loader
            found |= {f"data.{label}.{name}": part for name, part in parts.items()}
        return found

    def about(self) -> dict[str, SetFacts]:
        if not self._about:
            self._about = {label: one.facts(self.places) for label, one in self.opened.items()}
        return self._about
