"""Checks before training: mistakes that a config's own checks cannot see, each in one line with its fix.

A fault is what would stop the run, or leave it nothing to learn: it is not started. A warning is what trains, though
hardly as meant: it is printed, and the run starts. A start looks at the one batch of its dry run; `--check` also takes
one training batch forward and back, with weights, buffers, metrics and random states put back as they were.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from base.checks.loss_checks import Finding, has_sigmoid, is_class_numbers, look_at, losses_in
from base.config import Config
from base.discovery import users_frames
from base.errors import ConfigError, Fault, UserError, listing, ran_out_of_memory
from base.loop.components import NotOneNumber, one_number_each
from base.loop.stopping import batches_of
from base.protocols import DrawsNumbers
from base.registry import TRAINERS, TRANSFORMS, has_own_epoch
from utils.device import bounds
from utils.formatting import format_significant, pluralize
from utils.seed import rng_state, set_rng_state

if TYPE_CHECKING:
    from base.build import Builder
    from base.loop.base_trainer import BaseTrainer
    from base.loop.components import TrainerComponents


class ShapeProbe:
    """Notes what the first forward pass of each model takes and gives; no tensor is kept.

    with ShapeProbe(trainer.models) as seen:
        trainer.evaluate(...)
    seen.inputs["model"], seen.outputs["model"]
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        self.models = models
        self.inputs: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self._hooks = ExitStack()

    def __enter__(self) -> ShapeProbe:
        for name, model in self.models.items():
            self._watch(name, model)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._hooks.close()

    def _watch(self, name: str, model: nn.Module) -> None:
        def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if name not in self.inputs:
                self.inputs[name] = described(kwargs if not args else args[0] if len(args) == 1 else args)

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if name not in self.outputs:
                self.outputs[name] = described(output)

        self._hooks.callback(model.register_forward_pre_hook(before, with_kwargs=True).remove)
        self._hooks.callback(model.register_forward_hook(after).remove)


def described(value: Any) -> str:
    """A batch in words: `1x28x28 float32 from -0.81 to 2.02`, which leaves out how many samples it has."""
    if isinstance(value, Tensor):
        dtype, known = str(value.dtype).removeprefix("torch."), bounds(value)
        shape = "nested" if value.is_nested else "x".join(map(str, value.shape[1:])) or "number"
        reach = f" from {format_significant(known[0])} to {format_significant(known[1])}" if known else ""
        return f"{shape} {dtype}{reach}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {described(item)}" for key, item in value.items())
    if isinstance(value, tuple | list) and len(value) <= 4:
        return ", ".join(described(item) for item in value)
    return type(value).__name__


RANDOM = {"AugMix", "AutoAugment", "ColorJitter", "ElasticTransform", "GaussianNoise", "RandAugment", "ScaleJitter"}
RANDOM |= {"TrivialAugmentWide"}
"""Transforms of torchvision that change a sample differently each time, beside those that are called Random..."""
log = logging.getLogger(__name__)


class Preflight:
    """One look over what `builder` made; a run that goes on was looked over when it began."""

    def __init__(self, builder: Builder) -> None:
        self.builder, self.config, self.settings = builder, builder.config, builder.settings
        self.warnings: list[Fault] = []
        self.first_loss: tuple[float, int] | None = None
        """Of the last call of a loss of class numbers: its value and the number of classes."""

    @contextmanager
    def watching(self, parts: TrainerComponents) -> Iterator[None]:
        """Looks at what each loss is called with, before it is: a class too many leaves a GPU unusable."""
        with ExitStack() as hooks:
            for name, criterion in parts.criteria.items() if self.builder.is_new_run else ():
                for place, loss in losses_in(criterion, self.settings.place("loss", name)):
                    hooks.callback(loss.register_forward_pre_hook(self._before(place)).remove)
                    hooks.callback(loss.register_forward_hook(self._after).remove)
            yield

    def _before(self, place: str) -> Any:
        transformed = self.settings.data.target_transform is not None
        counts = () if transformed else self.builder.data.about()["train"].class_counts

        def look(loss: nn.Module, args: tuple[Any, ...]) -> None:
            if len(args) == 2:
                self._take(look_at(loss, args[0], args[1], counts), place)
                if isinstance(loss, nn.BCEWithLogitsLoss) and has_sigmoid(args[0]):
                    hint = "take the sigmoid out of the model: the loss has its own, and twice it hardly learns"
                    what = "BCEWithLogitsLoss takes logits"
                    self._take([Finding("loss", what, "the outputs of a sigmoid", "any numbers", hint, False)], place)

        return look

    def _after(self, loss: nn.Module, args: tuple[Any, ...], value: Tensor) -> None:
        if len(args) == 2 and value.dim() == 0 and is_class_numbers(loss, args[1]) and args[0].dim() > 1:
            self.first_loss = value.item(), args[0].shape[1]

    def look(self, trainer: BaseTrainer) -> None:
        """What can be seen without computing anything."""
        if self.builder.is_new_run:
            self._transforms()
            for name, model in trainer.models.items():
                self._take(_outside_the_model(model), self.settings.place("model", name))
            self._outside_the_optimizer(trainer)

    def try_training(self, trainer: BaseTrainer) -> None:
        """One training batch forward and back; none where a trainer has its own epoch, which has no parts."""
        name = self.settings.trainer.type
        if has_own_epoch(TRAINERS.get(name)):
            log.info("%s has an epoch of its own: no batch was tried", name)
            return
        batch = next(batches_of(trainer.data.train, trainer.request))
        with as_before(trainer), self.watching(trainer.parts):
            for model in trainer.models.values():
                model.train()
            try:
                loss = one_number_each(trainer.train_step(batch))["loss"]
                if not loss.requires_grad:
                    what, hint = (
                        "the loss depends on no parameter",
                        "look for .detach(), .item() or no_grad() on its way",
                    )
                    self._take([Finding("model", what, hint=hint)], "model")
                trainer.backward(loss)
            except NotOneNumber as error:
                raise at_the_loss(error, self.config) from None
            except (UserError, MemoryError):
                raise
            except Exception as error:
                if users_frames(error) or ran_out_of_memory(error):
                    raise
                what = f"the first training batch fails: {type(error).__name__}: {' '.join(str(error).split())}"
                raise self.config.error("model", what) from error
            self._check_loss(float(loss.detach()))
            self._check_gradients(trainer)

    def _take(self, findings: Iterable[Finding], place: str) -> None:
        faults: list[Fault] = []
        for finding in findings:
            fault = self.config.fault(
                self._key(finding, place), finding.what, finding.found, finding.expected, finding.hint
            )
            if finding.fatal:
                faults.append(fault)
            else:
                self._add(fault)
        if faults:
            raise ConfigError(faults, self.config.source)

    def _key(self, finding: Finding, place: str) -> str:
        """The nearest key to turn."""
        if finding.about == "loss":
            return f"{place}.type"
        if finding.about == "data":
            return "data.target_transform" if self.config.written("data.target_transform") else "data.train"
        models = [self.settings.place("model", name) for name in self.settings.models]
        key = place if place in models else models[0] if len(models) == 1 else "model"
        return f"{key}.args.num_classes" if self.config.written(f"{key}.args.num_classes") else key

    def _transforms(self) -> None:
        chosen = self.settings.data.transform
        for number, component in enumerate(chosen.eval):
            if component.type.startswith("Random") or component.type in RANDOM or _draws(component.type):
                what = f"{component.type} changes validation and test samples at random, and their scores with them"
                self._warn(
                    f"data.transform.eval.{number}", what, "where that is not meant, leave it to data.transform.train"
                )
        scales = [[dict(c.args) for c in each if c.type == "Normalize"] for each in (chosen.train, chosen.eval)]
        if scales[0] != scales[1]:
            what = "training and evaluation normalise differently: the model is tested on a scale that it did not learn"
            self._warn("data.transform.eval", what, "give both the same Normalize")

    def _outside_the_optimizer(self, trainer: BaseTrainer) -> None:
        held = {id(p) for o in trainer.optimizers.values() for group in o.param_groups for p in group["params"]}
        for name, model in trainer.models.items():
            left_out = [n for n, p in model.named_parameters() if p.requires_grad and id(p) not in held]
            if left_out and held:
                what = f"{_parameters(left_out)} of {name} in no optimizer: never changed"
                self._warn("optimizer", what, "freeze what is meant to stay, or widen optimizer.params")
        for name, criterion in trainer.criteria.items():
            inside = criterion.named_parameters() if isinstance(criterion, nn.Module) else ()
            if left_out := [n for n, p in inside if p.requires_grad and id(p) not in held]:
                what = f"the loss has {_parameters(left_out)} of its own in no optimizer: never changed"
                self._warn(self.settings.place("loss", name), what, "make them part of the model")

    def _check_loss(self, value: float) -> None:
        if not math.isfinite(value):
            what = f"the loss of the first training batch is {format_significant(value)}"
            hint = "look at the range of the inputs, and for log, sqrt or a division in model and loss"
            raise self.config.error("model", what, hint=hint)
        begins_with_weights = self.settings.init_from or any(
            component.init_from for component in self.settings.models.values()
        )
        if self.first_loss is None or begins_with_weights:
            return
        loss, classes = self.first_loss
        expected = math.log(classes)
        if classes > 1 and not expected / 3 < loss < 3 * expected:
            found, usual = f"{loss:.3g}", f"about ln({classes}) = {expected:.3g}, all classes being equally likely"
            hint = "look at the range of the inputs (Normalize), the first weights, and the targets"
            what = "the first loss is not that of an untrained model"
            self._add(self.config.fault("model", what, found, usual, hint))

    def _check_gradients(self, trainer: BaseTrainer) -> None:
        """Of one model alone: several are often trained by turns."""
        if len(trainer.models) > 1:
            return
        learning = [(n, p) for n, p in trainer.model.named_parameters() if p.requires_grad and not is_lazy(p)]
        unused = [name for name, p in learning if p.grad is None]
        if unused:
            what = f"{_parameters(unused)} without a gradient: not used on the way to the loss"
            self._warn("model", what, "use them in forward, take them out, or freeze them")
        elif learning and not any(p.grad is not None and _numbers(p.grad).count_nonzero() for _, p in learning):
            what, hint = "every gradient is 0: nothing would be learned", "look for a ReLU after the last layer"
            raise self.config.error("model", what, hint=hint)

    def _warn(self, key: str, what: str, hint: str) -> None:
        self._add(self.config.fault(key, what, hint=hint))

    def _add(self, warning: Fault) -> None:
        """Once, though the training batch shows it again, perhaps with other numbers."""
        if all((warning.key, warning.what) != (known.key, known.what) for known in self.warnings):
            self.warnings.append(warning)


def _numbers(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def _parameters(names: list[str]) -> str:
    return f"{pluralize(len(names), 'parameter')} ({listing(names, 'and', most=3)})"


def _draws(name: str) -> bool:
    """True of a transform of the framework's kind that asks for random numbers."""
    transform = TRANSFORMS.get(name) if name in TRANSFORMS else None
    return isinstance(transform, DrawsNumbers) and isinstance(transform.draws, int) and transform.draws > 0


def _outside_the_model(model: nn.Module) -> Iterator[Finding]:
    """Layers and parameters in plain lists and dicts, which torch does not look into."""
    own = {id(p) for p in model.parameters()}
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if attribute.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            inner = list(value.values() if isinstance(value, dict) else value)
            held = [p for item in inner if isinstance(item, nn.Module) for p in item.parameters()]
            held += [item for item in inner if isinstance(item, nn.Parameter)]
            if any(id(p) not in own for p in held):
                plain, kind = type(value).__name__, "Dict" if isinstance(value, dict) else "List"
                where = ".".join(filter(None, (name, attribute)))
                what = f"{where} is a plain {plain}: its parameters are not the model's, not trained and not saved"
                layers = "Module" if any(isinstance(item, nn.Module) for item in inner) else "Parameter"
                yield Finding("model", what, hint=f"make it an nn.{layers}{kind}", fatal=False)


@contextmanager
def as_before(trainer: BaseTrainer) -> Iterator[None]:
    """Whatever happens inside, weights, buffers, modes, optimizers, metrics and random states are as before."""
    rng = rng_state()
    stateful = [*trainer.models.values(), *trainer.optimizers.values(), *trainer.train_metrics.values()]
    states = [copy.deepcopy(item.state_dict()) for item in stateful]
    modes = [(module, module.training) for model in trainer.models.values() for module in model.modules()]
    try:
        yield
    finally:
        for item, state in zip(stateful, states, strict=True):
            item.load_state_dict(state)
        for module, training in modes:
            module.training = training
        for model in trainer.models.values():
            model.zero_grad(set_to_none=True)
        set_rng_state(rng)


def at_the_loss(error: NotOneNumber, config: Config) -> ConfigError:
    """The fault at the loss, or at its `reduction` if the config sets that."""
    places = (f"loss.terms.{error.name}", f"loss.{error.name}")
    place = next((place for place in places if config.written(place)), "loss")
    key = f"{place}.args.reduction" if config.written(f"{place}.args.reduction") else place
    return ConfigError([config.fault(key, error.what, error.found, "one number", error.hint)], config.source)
