"""Builds loaders from the config's `data` section."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset, default_collate

from base.config.arguments import build
from base.config.fields import Component
from base.config.keys import DataConfig
from base.errors import ConfigError, DataError, Fault, Origin, UserError
from base.protocols import (
    Collates,
    HasVocabulary,
    Learns,
    Overlaps,
    SplitsTest,
    SplitsValidation,
    TrainingLoader,
    UsesLearned,
)
from base.registry import FUNCTIONS, LOADERS, SAMPLERS, TRANSFORMS, Registry
from data_loader.checks import (
    align_classes,
    label_names,
    refuse_images,
    refuse_lone_geometry,
    warn_of_rare,
    warn_of_shared,
)
from data_loader.loaders import InMemoryLoader, LoadedData, PerSampleLoader, SinglePrecision
from data_loader.open_datasets import (
    SPLIT,
    DatasetFacts,
    DatasetSplit,
    LabelNumbers,
    describe_input,
    fingerprint,
    open_sets,
    split_indices,
    targets_of,
    tensors_of,
    test_components,
)
from data_loader.prefetch import Placement
from data_loader.samplers import BatchOrder, Order, Ordered, Sampled, SampledBatches, SequentialBatches
from data_loader.samples import Samples, note_inputs, words
from data_loader.transforms import Pipeline, SampleError
from utils.batches import SampleKeys, rows_of
from utils.seed import fold_in, isolated_rng

_PASSED_ON = ("num_workers", "timeout", "prefetch_factor", "persistent_workers", "multiprocessing_context", "in_order")
"""Keys of data.loader that are DataLoader's arguments as they stand."""

_IN_MEMORY: dict[str, Any] = {"in_memory": True, "reason": "it is held as tensors, all transforms treat whole batches"}


@LOADERS.register
def standard(data: DataConfig, *, seed: int, device: torch.device, kept: Mapping[str, Any] | None = None) -> LoadedData:
    """Opens the datasets, splits them, and makes the loaders. `kept` holds the `decisions` of a resumed run.

    ConfigError if the data does not allow what the config asks for, DataError if it is missing or broken.
    """
    return DataAssembler(data, seed, device, kept).assemble()


class DataAssembler:
    def __init__(self, data: DataConfig, seed: int, device: torch.device, kept: Mapping[str, Any] | None) -> None:
        self.data, self.seed, self.device, self.kept, self.resumed = data, seed, device, kept or {}, kept is not None
        self.places = SampleKeys(data.keys.input, data.keys.target)
        self.placement = Placement(device)
        self._single: dict[int, tuple[Tensor, ...]] = {}
        self.decisions: dict[str, Any] = {"in_memory": {}, "on_device": self.placement.reasons, "fingerprint": {}}

    def assemble(self) -> LoadedData:
        valid, test = self.data.valid_sets, test_components(self.data)
        components = {"train": self.data.train}
        components |= {_label("valid", name): part for name, part in valid.items() if isinstance(part, Component)}
        components |= {_label("test", name): part for name, part in test.items() if isinstance(part, Component)}
        # Constructors may draw, and a loader splits by the default generator's seed.
        with isolated_rng(self._seed("open")):
            datasets, self.decisions["data"] = open_sets(
                components, self.data.offline, self.kept.get("data"), self.resumed
            )
            parts = {"valid": valid.get("") == SPLIT, "test": test.get("") == SPLIT}
            parts = {label: self._part(datasets["train"], label) for label, asked in parts.items() if asked}
        datasets |= {label: part for label, part in parts.items() if part is not None}
        sets = {label: self._set(label, components.get(label, self.data.train), one) for label, one in datasets.items()}
        shares = {_label("valid", name): part for name, part in valid.items() if isinstance(part, int | float)}
        align_classes(sets)
        self._number_labels(sets)
        split = self._split(sets["train"], shares)
        sets |= {label: replace(sets["train"], label=label, members=members) for label, members in split.items()}
        if parts:
            split = {n: one.members for n, one in sets.items() if one.loader is not None and one.members is not None}
        self.facts = self._facts(sets["train"])
        self._share_what_is_learned(sets)
        loaders = {label: self._loader(one) for label, one in sets.items()}
        self.decisions |= self._known(sets["train"])
        if not self.resumed:
            warn_of_shared(sets, self.places)
        return LoadedData(
            train=loaders["train"],
            valid={name: loaders[label] for name in valid if (label := _label("valid", name)) in loaders},
            test={name: loaders[label] for name in test if (label := _label("test", name)) in loaders},
            facts=self.facts,
            decisions=self.decisions,
            split=split,
            places=self.places,
            opened=sets,
        )

    def _share_what_is_learned(self, sets: Mapping[str, DatasetSplit]) -> None:
        """A vocabulary or the like: `learn(indices)` of the training dataset returns plain values, once for the run;
        resuming and testing reuse them. Every dataset with a method `use` gets them."""
        train = sets["train"]
        if isinstance(train.dataset, Learns):
            learned = self.kept["learned"] if "learned" in self.kept else train.dataset.learn(train.indices().tolist())
            for one in sets.values():
                if isinstance(one.dataset, UsesLearned):
                    one.dataset.use(learned)
            self.decisions["learned"] = learned

    def _number_labels(self, sets: Mapping[str, DatasetSplit]) -> None:
        """Labels that are texts become class numbers, in the order of the alphabet; decided once for the run."""
        if (names := self.kept.get("labels")) is None and not self.resumed:
            names = label_names(sets["train"], self.places, transformed=self.data.target_transform is not None)
        if names:
            self.decisions["labels"] = list(names)
            for one in sets.values():
                one.labels = LabelNumbers(names)

    def _part(self, loader: Any, label: str) -> Any:
        """What the training data's loader has set aside: a loader, or None."""
        if label == "valid" and isinstance(loader, SplitsValidation):
            return loader.split_validation()
        if label == "test" and isinstance(loader, SplitsTest):
            return loader.split_test()
        method = {"valid": "split_validation", "test": "split_test"}[label]
        what = f"split is what a loader sets aside, and {self.data.train.type} has no method {method}"
        raise _refused(f"data.{label}", what)

    def _set(self, label: str, component: Component, opened: Any) -> DatasetSplit:
        if not isinstance(opened, DataLoader):
            return DatasetSplit(label, component, opened, tensors_of(opened))
        self._refuse_what_a_loader_decides(component)
        from data_loader.external_loaders import members_of

        members = members_of(opened, self._seed(label, "order"))
        return DatasetSplit(label, component, opened.dataset, None, members, opened)

    def _refuse_what_a_loader_decides(self, component: Component) -> None:
        """Refuses keys that would have no effect."""
        default = DataConfig(train=component)
        for name in ("transform", "target_transform", "stratify", "on_error", "loader"):
            if getattr(self.data, name) != getattr(default, name) and self.data.train.type == component.type:
                what = f"{component.type} makes its batches itself: write this in its args, or into its code"
                raise _refused(f"data.{name}", what)

    def _split(self, whole: DatasetSplit, shares: Mapping[str, Any]) -> dict[str, Tensor]:
        """Indices of `train` and of each share; nothing if there are no shares."""
        if not shares:
            return {}
        if whole.streamed:
            raise _refused("data.valid", f"{whole.component.type} is read as a stream, no part can be set aside")
        if isinstance(whole.dataset, Overlaps) and whole.dataset.overlapping:
            hint = f"{{type: {whole.component.type}, args: {{part: valid, ...}}}}"
            what = f"samples of {whole.component.type} overlap, and parts drawn by lot would share their data"
            raise _refused("data.valid", f"{what}; expected {hint}")
        labels = targets_of(whole.dataset, whole.tensors, self.places, whole.labels) if self.data.stratify else None
        try:
            split = split_indices(len(whole.dataset), shares, self._seed("split"), labels)
        except ValueError as error:
            raise _refused("data.valid", str(error)) from error
        if labels is not None:
            warn_of_rare(labels, split, whole)
        return split

    def _facts(self, train: DatasetSplit) -> DatasetFacts:
        def targets() -> Tensor:
            return targets_of(train.dataset, train.tensors, self.places, train.labels)

        def num_classes() -> int:
            return len(train.class_names) or int(targets().max()) + 1

        def class_counts() -> list[int]:
            chosen = targets()[train.indices()]
            counts: list[int] = torch.bincount(chosen, minlength=self.facts["data.num_classes"]).tolist()
            return counts

        def input_shape() -> list[int]:
            sample = self._try_one(train, self._samples(train, "eval"), "data.transform.eval")
            return list(self.places.part("input", sample).shape)

        facts = {"data.num_classes": num_classes, "data.class_counts": class_counts, "data.input_shape": input_shape}
        if isinstance(train.dataset, HasVocabulary):
            facts["data.vocab_size"] = lambda: train.dataset.vocab_size
        return DatasetFacts(facts)

    def _known(self, train: DatasetSplit) -> dict[str, Any]:
        """What using a trained model needs to know of the data: names of classes, the form of an input, facts."""
        known = {"classes": [str(name) for name in train.class_names], "facts": self.facts.known}
        if not train.streamed:
            samples = self._samples(train, "eval")
            known["input"] = note_inputs(samples, self._first_readable(train, samples)[1])
        return known

    def _loader(self, one: DatasetSplit) -> TrainingLoader:
        options, kind = self.data.loader, "train" if one.label == "train" else "eval"
        one.samples = samples = self._samples(one, kind)
        batch_size = options.batch_size if kind == "train" else options.eval_batch_size or options.batch_size
        if one.loader is not None:
            reason = f"{one.component.type} makes its batches itself"
            self.decisions["in_memory"][one.label] = {"in_memory": False, "reason": reason}
            if one.members is not None:
                self.decisions["fingerprint"][one.label] = self._fingerprint(one, samples)
                self._try_one(one, samples, "data.train")
            from data_loader.external_loaders import adopt

            return cast(TrainingLoader, adopt(one.loader, samples, self._seed(one.label, "order"), self.device))
        in_memory = self._decide(one, samples)
        if one.streamed:
            drop_last = options.drop_last and kind == "train"
            key, most = f"data.{one.label.replace('_', '.', 1)}", self.data.max_errors
            from data_loader.streams import StreamedLoader

            return StreamedLoader(samples, batch_size, drop_last, self.device, most, key, **self._worker_options())
        if not len(one.indices()):
            raise DataError(f"{one.name} has no samples")
        self.decisions["fingerprint"][one.label] = self._fingerprint(one, samples)
        self._try_one(one, samples, f"data.transform.{kind}")
        batching = self._batching(one, batch_size, kind)
        if not in_memory:
            return PerSampleLoader(samples, batching, self.device, self.data.max_errors, **self._worker_options())
        assert one.tensors is not None
        tensors = self._single.setdefault(id(one.tensors), SinglePrecision(one.name, self.places).of(one.tensors))
        return InMemoryLoader(
            self.placement.put(one.label, tensors),
            one.name,
            batching,
            self.places,
            samples.transform,
            samples.target_transform,
            self.device,
        )

    def _samples(self, one: DatasetSplit, kind: str) -> Samples:
        transforms = [
            self._build(f"data.transform.{kind}.{number}", TRANSFORMS, component)
            for number, component in enumerate(getattr(self.data.transform, kind))
        ]
        target, targets = self.data.target_transform, [one.labels] if one.labels else list[Any]()
        if target is not None:
            registry = FUNCTIONS if target.type in FUNCTIONS else TRANSFORMS
            targets = [self._build("data.target_transform", registry, target)]
        seeds = [self._seed(one.label, part) for part in ("transform", "target_transform", "sample")]
        samples = Samples(
            one.dataset,
            one.name,
            self.places,
            Pipeline(transforms, seeds[0]),
            Pipeline(targets, seeds[1]),
            seeds[2],
            skips=self.data.on_error == "skip",
        )
        if self.data.loader.collate_fn is not None:
            samples.collate = self._build("data.loader.collate_fn", FUNCTIONS, self.data.loader.collate_fn)
        elif isinstance(one.dataset, Collates):
            samples.collate = one.dataset.collate
        return samples

    def _try_one(self, one: DatasetSplit, samples: Samples, key: str) -> Any:
        """The first readable sample, transformed: what does not fit is found before anything starts."""
        index, read = self._first_readable(one, samples)
        one.first = describe_input(read[0], self.places)
        refuse_lone_geometry(read[0], key, self.places, self.data)
        try:
            sample = samples.transformed(read, 0, 0)[0]
        except SampleError as failed:
            step = f"{failed.step} fails" if failed.step else "failure"
            raise _refused(key, f"{step} on sample {index} of {one.name}: {words(failed.error)}") from failed.error
        if samples.collate is default_collate:
            refuse_images(sample, one.name, key, self.places)
        return sample

    def _first_readable(self, one: DatasetSplit, samples: Samples) -> tuple[int, list[Any]]:
        """Its index, and a list of the sample as it was read."""
        for index in one.indices()[: self.data.max_errors + 1].tolist():
            if read := samples.read_at([index]):
                return index, read
        raise DataError(f"{one.name}: none of its first {self.data.max_errors + 1} samples can be read")

    def _fingerprint(self, one: DatasetSplit, samples: Samples) -> str:
        """A hash of 64 samples spread over the dataset if it is held as tensors, else of three."""
        members = one.indices()
        count = min(len(members), 3 if one.tensors is None else 64)
        chosen = members[torch.linspace(0, len(members) - 1, count).long()]
        if one.tensors is None:
            return fingerprint(len(members), samples.read_at(chosen.tolist()))
        return fingerprint(len(members), rows_of(one.tensors, chosen))

    def _decide(self, one: DatasetSplit, samples: Samples) -> bool:
        """In memory or not, and why. A resumed run keeps what was decided before."""
        single_sample = [*samples.transform.single_sample, *samples.target_transform.single_sample]
        obstacle = ""
        if one.streamed:
            obstacle = f"{one.component.type} is read as a stream"
        elif one.tensors is None:
            obstacle = f"{one.component.type} does not give its data as tensors (no method as_tensors)"
        elif single_sample:
            obstacle = f"{single_sample[0]} treats one sample at a time"
        elif self.data.loader.collate_fn is not None:
            obstacle = f"{self.data.loader.collate_fn.type} makes batches of single samples"
        wish = self.data.loader.in_memory
        reason = f"data.loader.in_memory is {str(wish).lower()}"
        if wish == "auto":
            decided = self.kept.get("in_memory", {}).get(one.label, _IN_MEMORY)
            wish, reason = decided["in_memory"] and not obstacle, obstacle or decided["reason"]
        if wish and obstacle:
            raise _refused("data.loader.in_memory", f"{one.name} cannot be held in memory: {obstacle}")
        self.decisions["in_memory"][one.label] = {"in_memory": bool(wish), "reason": reason}
        return bool(wish)

    def _worker_options(self) -> dict[str, Any]:
        loader = self.data.loader
        options = {name: getattr(loader, name) for name in _PASSED_ON}
        options["pin_memory"] = loader.pin_memory and self.device.type != "cpu"
        if loader.worker_init_fn is not None:
            options["worker_init_fn"] = self._build("data.loader.worker_init_fn", FUNCTIONS, loader.worker_init_fn)
        return options

    def _batching(self, one: DatasetSplit, batch_size: int, kind: str) -> BatchOrder:
        size, options, seed = len(one.indices()), self.data.loader, self._seed(one.label, "order")
        order: Order = Ordered(size, seed if kind == "train" and options.shuffle else None)
        if kind == "train" and options.batch_sampler is not None:
            return SampledBatches(self._sampler("batch_sampler", one, order), size, batch_size, seed, one.members)
        if kind == "train" and options.sampler is not None:
            order = Sampled(self._sampler("sampler", one, order), size, seed)
        return SequentialBatches(order, batch_size, kind == "train" and options.drop_last, one.members)

    def _sampler(self, key: str, one: DatasetSplit, order: Order) -> Callable[[], Any]:
        """A function that makes the sampler from what its constructor asks for: dataset, targets or order."""
        component: Component = getattr(self.data.loader, key)
        offered: dict[str, Callable[[], Any]] = {
            "data_source": lambda: one.dataset if one.members is None else Subset(one.dataset, one.members.tolist()),
            "targets": lambda: targets_of(one.dataset, one.tensors, self.places, one.labels)[one.indices()],
            "sampler": lambda: order(0).tolist(),
        }
        parameters = inspect.signature(SAMPLERS.get(component.type)).parameters
        supplied = {name: give() for name, give in offered.items() if name in parameters}
        return lambda: self._build(f"data.loader.{key}", SAMPLERS, component, **supplied)

    def _build(self, key: str, registry: Registry, component: Component, **supplied: Any) -> Any:
        try:
            return build(registry, component, self.facts, **supplied)
        except UserError:
            raise
        except KeyError as error:
            raise _refused(key, f"the fact {error} is not known before the data is read") from error
        except (TypeError, ValueError) as error:
            raise _refused(key, f"{component.type} refuses this: {words(error)}") from error

    def _seed(self, *path: str) -> int:
        return fold_in(self.seed, *(zlib.crc32(step.encode()) for step in path))


def _label(role: str, name: str) -> str:
    return f"{role}_{name}" if name else role


def _refused(key: str, what: str) -> ConfigError:
    return ConfigError([Fault(Origin("the config"), key, what)])
