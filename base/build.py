"""Builds the objects that a config describes, through the registries: data first, then what depends on its facts."""

from __future__ import annotations

import json
import re
import zlib
from collections import ChainMap
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.optim import Optimizer

from base.checks.optimizer_limits import impossible, not_fusable, unusable
from base.config.arguments import build, convert, substitute
from base.config.keys import LossConfig
from base.config.torch_facts import FUSED, FUSED_ON_ACCELERATORS, usual_unit
from base.discovery import users_frames
from base.errors import CheckpointError, ConfigError, Fault, UserError, listing
from base.evaluation.first_batches import FirstBatches
from base.loop.base_trainer import BaseTrainer
from base.loop.callback import Callback
from base.loop.components import (
    NoSuchOutput,
    NotOnlyOne,
    OutputSelector,
    SelectedLoss,
    SelectedMetric,
    TrainerComponents,
    WeightedTerms,
    steps_per_epoch,
)
from base.loop.metrics import Mean
from base.loop.optim import Average, Learning, Link, ParameterFreezer, Schedule, grouped, learning, matches
from base.protocols import (
    ChoosesState,
    CountsUpdates,
    DataSets,
    Loader,
    SharesCounts,
    Updates,
    WrapsLoader,
    batches_in,
)
from base.registry import (
    CALLBACKS,
    LOADERS,
    LOSSES,
    METRICS,
    MODELS,
    OPTIMIZERS,
    SCHEDULERS,
    TRAINERS,
    WRITERS,
    Registry,
    has_own_epoch,
)
from utils.device import select_device, select_precision
from utils.seed import fold_in, seed_everything

if TYPE_CHECKING:
    from base.config import Config, keys
    from base.legacy.adapter import TemplateTrainer


class Builder:
    """Builds what one config describes, data first. If a constructor rejects its arguments, raises a ConfigError that
    points to them. `decisions` are what a resumed run decided about its data when it started."""

    data: DataSets

    def __init__(self, config: Config, decisions: Mapping[str, Any] | None = None) -> None:
        self.config, self.settings, self.is_new_run = config, config.settings, not decisions
        self._decisions = decisions
        self.warnings: list[Fault] = []
        """What `load_data` found in the config that would never act."""
        try:
            self.device = select_device(self.settings.device, self.settings.n_gpu)
        except ValueError as error:
            raise config.error("device", str(error)) from None
        if self.settings.threads is not None:
            torch.set_num_threads(self.settings.threads)
        self._fused: dict[str, bool] = {}
        """By name of each optimizer that was built."""

    def load_data(self) -> DataSets:
        """Opens the datasets, builds their loaders, and sets `facts`, which other arguments may refer to."""
        trainer = self.settings.trainer
        try:
            self.data = LOADERS.get("standard")(
                self.settings.data, seed=self.settings.seed, device=self.device, kept=self._decisions
            )
            if trainer.overfit_batches:
                self.data.train = FirstBatches(self.data.train, trainer.overfit_batches)
            steps = steps_per_epoch(self.settings, self.data.train)
        except ConfigError as error:
            raise self.config.placed(error.faults) from error
        self._check_lengths(steps * trainer.epochs)
        known = {"epochs": trainer.epochs, "steps_per_epoch": steps, "total_steps": steps * trainer.epochs}
        # Facts of the data are computed on first use, because some of them require reading it.
        self.facts = ChainMap({f"trainer.{name}": n for name, n in known.items()}, cast(Any, self.data.facts))
        return self.data

    def _check_lengths(self, steps: int) -> None:
        """Checks the batch size against the size of the data, and schedules against the steps of the whole run."""
        config, train, batch = self.config, self.data.train, self.settings.data.loader.batch_size
        faults = []
        if train.size is None:
            pass  # a stream that does not say how many samples it has
        elif not len(train):
            what = f"no batch is left: the training data is smaller than one batch of {batch}, and drop_last is on"
            faults.append(config.fault("data.loader.batch_size", what))
        elif isinstance(train, WrapsLoader):
            pass  # the project's own loader, which ignores data.loader
        elif self.is_new_run and config.written("data.loader.batch_size") and 0 < train.size < batch:
            what, most = "larger than the training data", f"{train.size} at most, the number of its samples"
            faults.append(config.fault("data.loader.batch_size", what, str(batch), most))
        if self.is_new_run:
            known = {n: part for n, part in self.data.valid.items() if not isinstance(part, WrapsLoader)}
            sizes = {n: part.size for n, part in known.items() if part.size is not None}
            found = config.judged(steps, batches_in(train), sizes)
            faults += [fault for fault in found if not fault.is_warning]
            self.warnings = [fault for fault in found if fault.is_warning]
        if faults:
            raise ConfigError(faults, config.source)

    def loaders(self) -> dict[str, Loader]:
        """All loaders, by the name that `test.py --data` accepts."""
        valid = {name or "valid": loader for name, loader in self.data.valid.items()}
        test = {name or "test": loader for name, loader in self.data.test.items()}
        return {"train": self.data.train} | valid | test

    def build_models(self) -> dict[str, nn.Module]:
        """All models by name, on the device. The same seed gives the same initial weights."""
        seed_everything(self.settings.seed)
        models = {name: self._model(name, component) for name, component in self.settings.models.items()}
        if self.is_new_run and self.settings.init_from:
            self._take_weights("init_from", models, self.settings.init_from)
        return models

    def build_losses(self) -> dict[str, Callable[..., Any]]:
        """All losses by name, on the device."""
        losses = self.settings.losses.items()
        return {name: self._loss(self.settings.place("loss", name), component) for name, component in losses}

    def for_evaluation(self) -> TrainerComponents:
        """Models, losses and metrics, in the order in which a run builds them."""
        return self.components(self.data, self.build_models(), self.build_losses())

    def components(
        self, data: DataSets, models: dict[str, nn.Module], criteria: dict[str, Callable[..., Any]]
    ) -> TrainerComponents:
        """The components that an evaluation needs; `add_optimizers` adds those for training."""
        return TrainerComponents(
            settings=self.settings,
            device=self.device,
            data=data,
            models=models,
            frozen=[name for name, component in self.settings.models.items() if component.frozen],
            criteria=criteria,
            metrics=self._metrics(),
            precision=select_precision(self.settings.trainer.precision, self.device),
            log=WRITERS.get("NullLog")(),
        )

    def build_trainer(self, parts: TrainerComponents) -> BaseTrainer:
        """The trainer that the config names. For a trainer with its own epoch, this also adds the optimizers, which its
        constructor needs."""
        kind = TRAINERS.get(self.settings.trainer.type)
        if has_own_epoch(kind):
            from base.legacy.adapter import with_template_base
            from base.legacy.epoch_trainer import EpochTrainer

            self._add_optimizers(parts)
            try:
                return EpochTrainer(parts, self.config, kind, partial(self._template_trainer, with_template_base(kind)))
            except ConfigError as error:
                raise self.config.placed(error.faults) from None
        trainer: BaseTrainer = self._build("trainer", TRAINERS, self.settings.trainer, parts=parts)
        return trainer

    def _template_trainer(self, kind: type[TemplateTrainer], **supplied: Any) -> TemplateTrainer:
        name, args = self.settings.trainer.type, self.settings.trainer.args
        made: TemplateTrainer = self.config_error_from(
            "trainer", lambda: kind(**supplied, **convert(kind, substitute(args, self.facts))), name, args
        )
        return made

    def add_optimizers(self, parts: TrainerComponents, callbacks: Iterable[Callback] = ()) -> None:
        """Adds optimizers, schedules, averages and callbacks; `callbacks` come after those of the config."""
        if not parts.optimizers:
            self._add_optimizers(parts)
        parts.callbacks += callbacks

    def _add_optimizers(self, parts: TrainerComponents) -> None:
        if ema := self.settings.trainer.ema:
            learn = (name for name in parts.models if name not in parts.frozen)
            parts.averages |= {name: Average(parts.models[name], ema.decay) for name in learn}
        for name, component in self.settings.optimizers.items():
            parts.optimizers[name] = self._optimizer(name, component, parts.models)
        for name, chain in self.settings.schedules.items():
            links = [self._link(name, i, link) for i, link in enumerate(chain)]
            parts.schedules[name] = Schedule(parts.optimizers[name], links)
        if self.settings.trainer.compile:
            for model in (*parts.models.values(), *(one.module for one in parts.averages.values())):
                model.compile()
        parts.freezing |= {name: self._freezing(name, model) for name, model in parts.models.items()}
        parts.callbacks += [
            self._build(f"callbacks.{i}", CALLBACKS, callback) for i, callback in enumerate(self.settings.callbacks)
        ]

    def fused(self, optimizer: keys.OptimizerConfig) -> bool:
        """Whether to use the fused implementation: the config's choice, else the usual one for this kind of optimizer.
        The optimizer's parameters may still rule it out."""
        by_kind = FUSED if self.device.type == "cpu" else FUSED_ON_ACCELERATORS
        return optimizer.type in by_kind if optimizer.fused is None else optimizer.fused

    @property
    def synthetic(self) -> bool:
        return bool(self.data.decisions["data"] == "synthetic")

    def decided(self) -> dict[str, Any]:
        """The config with the program's decisions filled in. A resume must not decide differently: `fused`, for one,
        changes bits."""
        config = self.config.to_dict()
        config |= {"device": str(self.device), "threads": torch.get_num_threads()}
        several = isinstance(self.settings.optimizer, dict)
        for name, component in self.settings.optimizers.items():
            fused = self._fused.get(name, self.fused(component))
            (config["optimizer"][name] if several else config["optimizer"])["fused"] = fused
        return config

    def _model(self, name: str, component: keys.ModelConfig) -> nn.Module:
        """One of several models has initial weights that do not depend on the others."""
        place = self.settings.place("model", name)
        seed = self.settings.seed
        seed_everything(seed if place == "model" else fold_in(seed, zlib.crc32(name.encode())))
        model: nn.Module = self._build(place, MODELS, component).to(self.device)
        if self.is_new_run and component.init_from:
            self._take_weights(f"{place}.init_from", {name: model}, component.init_from, part=name)
        return model.requires_grad_(False) if component.frozen else model

    def _take_weights(self, key: str, models: Mapping[str, nn.Module], source: str, part: str = "") -> None:
        from base.checkpoint.init_from import take_weights

        try:
            take_weights(models, source, part)
        except CheckpointError as error:
            raise CheckpointError(f"{self.config.origin(key)}: {key}: {error}") from None

    def _loss(self, place: str, component: Any) -> Callable[..., Any]:
        if isinstance(component, LossConfig) and component.terms:
            terms = {n: (term.weight, self._loss(f"{place}.terms.{n}", term)) for n, term in component.terms.items()}
            return WeightedTerms(terms)
        loss: Callable[..., Any] = self._build(place, LOSSES, component)
        loss = loss.to(self.device) if isinstance(loss, nn.Module) else loss
        parts = OutputSelector(component, place)
        return SelectedLoss(loss, parts) if parts else loss

    def _freezing(self, name: str, model: nn.Module) -> ParameterFreezer:
        component, place = self.settings.models[name], self.settings.place("model", name)
        if component.frozen:
            return ParameterFreezer(model, whole=True)
        for i, pattern in enumerate(component.freeze):
            if not any(matches(model, parameter, pattern) for parameter, _ in model.named_parameters()):
                raise self._no_match(f"{place}.freeze.{i}", pattern, (n for n, _ in model.named_parameters()))
        until = component.unfreeze_at.epoch if component.unfreeze_at is not None else None
        freezing = ParameterFreezer(model, component.freeze, until)
        if len(freezing.parameters) == len(learning({name: model})) and until != 1:
            hint = "leave some parameters to train, or set frozen: true"
            raise self.config.error(f"{place}.freeze", "the whole model is frozen", hint=hint)
        return freezing

    def _optimizer(self, name: str, component: keys.OptimizerConfig, models: Mapping[str, nn.Module]) -> Optimizer:
        place = self.settings.place("optimizer", name)
        parameters = learning(models, component.params or (name if name in models else None))
        names = [full for full, *_ in learning(models).values()]
        if not parameters and component.params:
            raise self._no_match(f"{place}.params", component.params, names)
        if not parameters:
            raise self.config.error(place, "there are no parameters left to train")
        several = isinstance(self.settings.optimizer, dict)
        groups = grouped(parameters, component.groups, component.args, name if several else "")
        for i, group in enumerate(groups):
            if not group["params"]:
                raise self._no_match(f"{place}.groups.{i}.match", component.groups[i].match, names)
        self._refuse_unusable(place, OPTIMIZERS.get(component.type), component, parameters)
        self._fused[name] = self.fused(component) and not not_fusable(parameters, component.args)
        options = {"fused": True} if self._fused[name] else {}
        optimizer: Optimizer = self._build(place, OPTIMIZERS, component, params=groups, **options)
        self._refuse_unusable(place, type(optimizer), component, parameters)  # a user's factory may return any class
        return optimizer

    def _refuse_unusable(self, place: str, kind: Any, component: keys.OptimizerConfig, parameters: Learning) -> None:
        trainer = self.settings.trainer
        its = TRAINERS.get(trainer.type)
        own_steps = has_own_epoch(its) or getattr(its, "optimizer_step", None) is not BaseTrainer.optimizer_step
        found = [(f"{place}.{key}", *words) for key, *words in unusable(kind, component, parameters, own_steps)]
        found += impossible(parameters, trainer.clip.value, trainer.precision)
        if found:
            raise ConfigError([self.config.fault(*each) for each in found], self.config.source)

    def _no_match(self, key: str, pattern: str, names: Iterable[str]) -> ConfigError:
        hint = f"there are {listing(names, 'and')}" if names else ""
        what = f"{pattern!r} matches no name of a remaining parameter"
        return self.config.error(key, what, hint=hint)

    def _link(self, name: str, number: int, component: keys.SchedulerConfig) -> Link:
        whole = self.settings.lr_scheduler
        chain = whole.get(name) if isinstance(whole, dict) else whole
        place = f"lr_scheduler.{name}" if isinstance(whole, dict) else "lr_scheduler"
        place = f"{place}.{number}" if isinstance(chain, tuple) else place
        component = self._in_the_monitors_direction(place, component)
        return Link(
            lambda optimizer: self._build(place, SCHEDULERS, component, optimizer=optimizer),
            component.every or usual_unit(component.type),
            component.steps,
            place,
            component.type,
            json.dumps(substitute(component.args, self.facts), sort_keys=True, default=repr),
        )

    def _in_the_monitors_direction(self, place: str, component: keys.SchedulerConfig) -> keys.SchedulerConfig:
        """Sets `mode` of ReduceLROnPlateau, which gets the monitored value. A trainer with its own epoch is exempt: it
        may pass any value."""
        monitor = self.settings.trainer.monitor
        own_epoch = has_own_epoch(TRAINERS.get(self.settings.trainer.type))
        if component.type != "ReduceLROnPlateau" or not monitor or own_epoch:
            return component
        mode = monitor.split()[0]
        given = component.args.get("mode", mode)
        if given != mode and self.is_new_run:
            what, hint = f"contradicts trainer.monitor: {monitor}", f"write {mode}, or leave it out"
            raise self.config.error(f"{place}.args.mode", what, repr(given), hint=hint)
        return component.model_copy(update={"args": {**component.args, "mode": given}})

    def _metrics(self) -> dict[str, Any]:
        """All metrics by name. The scores of functions and callables are averaged. Metrics that count the same things
        in the same parts of output and target share their counts."""
        metrics, counting = dict[str, Any](), dict[Any, Any]()
        for i, component in enumerate(self.settings.metrics):
            metric = self._build(f"metrics.{i}", METRICS, component)
            if not isinstance(metric, Updates):
                metric = Mean(metric)
            elif isinstance(metric, ChoosesState):
                metric.persistent(True)
                metric.in_blocks = not isinstance(metric, CountsUpdates)  # type: ignore[attr-defined]
            if isinstance(metric, nn.Module):
                metric = metric.to(self.device)
            if isinstance(metric, SharesCounts):
                first = counting.setdefault((component.output, component.target, metric.counted), metric)
                if first is not metric:
                    metric.share(first)
            parts = OutputSelector(component, f"metrics.{i}")
            metrics[component.name or component.type] = SelectedMetric(metric, parts) if parts else metric
        return metrics

    def _build(self, place: str, registry: Registry, component: Any, **supplied: Any) -> Any:
        return self.config_error_from(
            place, partial(build, registry, component, self.facts, **supplied), component.type, component.args
        )

    def config_error_from(self, place: str, make: Callable[[], Any], name: str, args: Iterable[str] = ()) -> Any:
        """Calls `make`. An error raised by a library becomes a ConfigError at `place`, or at the argument that the
        error names; errors in the user's own code are left alone."""
        try:
            return make()
        except (UserError, MemoryError, NotOnlyOne, NoSuchOutput):
            raise
        except Exception as error:
            if users_frames(error):
                raise
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            named = [argument for argument in args if re.search(rf"\b{re.escape(argument)}\b", text, re.IGNORECASE)]
            key = f"{place}.args.{named[0]}" if len(named) == 1 else place
            raise self.config.error(key, f"{name} refuses this: {text}") from error
