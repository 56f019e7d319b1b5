"""Every key of a config: type, range, default, description, and what its change means for a resumed run."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from base.config.document import freeze
from base.config.fields import (
    Args,
    Component,
    Count,
    Empty,
    Off,
    OffOrFalse,
    Pattern,
    Patterns,
    Section,
    SetName,
    by_name,
    key,
    kind_of_set,
    one_or_named,
    seconds,
)


class UnfreezeConfig(Section):
    epoch: int = key("at the beginning of this epoch, the first being 1", ge=1)


def _weights(use: str) -> Any:
    """The key of a file of weights, for one model or for all."""
    about = f"a run, a checkpoint or a .safetensors file {use}"
    return key(about, None, min_length=1, resume="harmless", expected="a path, or off")


class ModelConfig(Component):
    init_from: Annotated[str | None, Off] = _weights("whose weights it begins with")
    frozen: bool = key("it does not learn: no gradients, always in eval mode, given to no optimizer", False)
    freeze: Patterns = key(
        "patterns for what of it does not learn, by names or kinds of parameters",
        (),
        resume="epoch_end",
        expected="a list of regular expressions",
    )
    unfreeze_at: Annotated[UnfreezeConfig | None, Off] = key(
        "when what `freeze` names begins to learn", None, resume="epoch_end"
    )


class OutputTargetConfig(Component):
    """A component that takes an output and a target."""

    output: str | int | None = key("which part of the model's output it is given; null: all of it", None)
    target: str | int | None = key("which part of the target it is given; null: all of it", None)


class TermConfig(OutputTargetConfig):
    weight: float = key("what it is multiplied by", 1.0)


class LossConfig(OutputTargetConfig):
    type: str | None = key("the name of a loss; none if there are terms", None, min_length=1, expected="a name")  # type: ignore[assignment]
    terms: Annotated[dict[SetName, TermConfig], AfterValidator(freeze)] = key(
        "losses by name that are weighted, summed, and each logged",
        {},
        expected="names with a loss each",
        registry="LOSSES",
    )


class MetricConfig(OutputTargetConfig):
    name: Annotated[str | None, Off] = key(
        "its name in the logs; null: its type",
        None,
        pattern=r"^[A-Za-z][A-Za-z0-9_]*$",
        expected="letters, digits and '_', beginning with a letter",
    )


class GroupConfig(Section):
    match: Pattern = key(
        "a pattern that names of its parameters hold, such as bias$, or their kinds, such as BatchNorm",
        resume="impossible",
    )
    name: SetName | None = key("its name in the logs; null: its number", None)
    lr_scale: float = key("what the learning rate is multiplied by", 1.0, gt=0)
    args: Args = key("arguments of the optimizer that differ", {}, expected="a mapping of arguments")


class OptimizerConfig(Component):
    type: str = key("the name of an optimizer", min_length=1, resume="impossible", expected="a name")
    params: Pattern | None = key(
        "what it optimizes: a model's name or a pattern of parameters' names; null: its namesake's, else all",
        None,
        min_length=1,
        resume="impossible",
        expected="a model's name, a regular expression, or null",
    )
    fused: Annotated[bool | None, OffOrFalse] = key("one kernel for all parameters; null: by kind of optimizer", None)
    groups: Annotated[tuple[GroupConfig, ...], Empty, Field(strict=False)] = key(
        "parameters with arguments of their own; each belongs to the first group that matches",
        (),
        expected="a list of mappings with match, name, lr_scale and args",
    )


class SchedulerConfig(Component):
    every: Literal["step", "epoch", "monitor"] | None = key("when it steps; null: by kind of schedule", None)
    steps: Annotated[int | None, Off] = key("how long this link of a chain lasts, counted in `every`", None, ge=1)


ComponentOrOff = Annotated[Component | None, Off]
Components = Annotated[tuple[Component, ...], Empty, Field(strict=False)]

_One = Annotated[Component, Tag("<component>")]
_Fraction = Annotated[float, Field(gt=0, lt=1), Tag("<fraction>")]
_Count = Annotated[int, Field(ge=1), Tag("<count>")]
_Part = Annotated[_One | _Fraction | _Count, Discriminator(kind_of_set)]
_Parts = Annotated[dict[SetName, _Part], AfterValidator(freeze), Tag("<sets>")]
_Split = Annotated[Literal["split"], Tag("<word>")]
ValidSets = Annotated[_One | _Fraction | _Count | _Parts | _Split, Discriminator(kind_of_set)]
_Tests = Annotated[dict[SetName, Component], AfterValidator(freeze), Tag("<sets>")]
TestSets = Annotated[_One | _Tests | Annotated[Literal["auto"], Tag("<word>")], Discriminator(kind_of_set)]
_Chain = Annotated[tuple[SchedulerConfig, ...], Field(strict=False), Tag("<chain>")]
Chain = Annotated[Annotated[SchedulerConfig, Tag("<one>")] | _Chain, one_or_named(SchedulerConfig)]
_Chains = Annotated[dict[SetName, Chain], AfterValidator(freeze), Tag("<named>")]
Schedules = Annotated[Annotated[SchedulerConfig, Tag("<one>")] | _Chain | _Chains, one_or_named(SchedulerConfig)]
_Models = Annotated[dict[SetName, ModelConfig], AfterValidator(freeze), Tag("<named>")]
Models = Annotated[Annotated[ModelConfig, Tag("<one>")] | _Models, one_or_named(ModelConfig)]
_Losses = Annotated[dict[SetName, LossConfig], AfterValidator(freeze), Tag("<named>")]
Losses = Annotated[Annotated[LossConfig, Tag("<one>")] | _Losses, one_or_named(LossConfig)]
_Optimizers = Annotated[dict[SetName, OptimizerConfig], AfterValidator(freeze), Tag("<named>")]
Optimizers = Annotated[Annotated[OptimizerConfig, Tag("<one>")] | _Optimizers, one_or_named(OptimizerConfig)]
OR_NAMED = "a name, a mapping with type and args, or names with one of these each"


class TransformConfig(Section):
    train: Components = key("what training samples go through, in order", (), resume="epoch_end", registry="TRANSFORMS")
    eval: Components = key("what validation and test samples go through, in order", (), registry="TRANSFORMS")


class SampleKeysConfig(Section):
    input: str | int | None = key("where a sample holds the model's input; null: first", None)
    target: str | int | None = key("where a sample holds the target; null: second", None)


class LoaderConfig(Section):
    DECIDES: ClassVar = {"batch_sampler": ("batch_size", "shuffle", "sampler", "drop_last"), "sampler": ("shuffle",)}
    """Keys that leave others of them without meaning."""

    batch_size: int = key("samples in a batch of training data", 64, ge=1, resume="epoch_end")
    eval_batch_size: int | None = key("samples in a batch of other data; null: as batch_size", None, ge=1)
    shuffle: bool = key("a new order for each pass over the training data", True, resume="epoch_end")
    drop_last: bool = key("leave out the last batch of a pass if it is not full", False, resume="epoch_end")
    in_memory: bool | Literal["auto"] = key(
        "hold the data as tensors; auto: where that is possible", "auto", expected="auto, true or false"
    )
    num_workers: int = key("processes that read data; 0: the main one does", 0, ge=0, resume="harmless")
    sampler: ComponentOrOff = key("which samples, in which order", None, resume="epoch_end", registry="SAMPLERS")
    batch_sampler: ComponentOrOff = key("which samples form each batch", None, resume="epoch_end", registry="SAMPLERS")
    collate_fn: ComponentOrOff = key(
        "a function from a list of samples to a batch", None, resume="epoch_end", registry="FUNCTIONS"
    )
    pin_memory: bool = key("page-locked memory, for faster copies to a GPU", False, resume="harmless")
    timeout: float = key("seconds to wait for a worker; 0: for ever", 0.0, ge=0, resume="harmless")
    worker_init_fn: ComponentOrOff = key(
        "a function that each worker calls first", None, resume="harmless", registry="FUNCTIONS"
    )
    prefetch_factor: int | None = key("batches that each worker reads ahead", None, ge=1, resume="harmless")
    persistent_workers: bool = key("keep the workers from one pass to the next", False, resume="harmless")
    multiprocessing_context: Literal["fork", "forkserver", "spawn"] | None = key(
        "how workers are started; null: fork on Linux, else as Python does", None, resume="harmless"
    )
    in_order: bool = key("keep the order of batches when a worker is slow", True, resume="epoch_end")


class DataConfig(Section):
    train: Component = key("the training data", resume="epoch_end", registry="DATASETS")
    valid: Annotated[ValidSets | None, Off] = key(
        "the validation data: a dataset, a part of the training data, several by name; split: what a loader sets off",
        None,
        resume="epoch_end",
        expected="a dataset, a fraction between 0 and 1, a count, names with one of these each, split or off",
        registry="DATASETS",
    )
    test: Annotated[TestSets | None, Off] = key(
        "the test data; auto: data.train with `train: false` or `part: test`, if it takes that",
        "auto",
        resume="harmless",
        expected="a dataset, names with a dataset each, auto or off",
        registry="DATASETS",
    )
    stratify: bool = key("split so that each class keeps its share", False, resume="epoch_end")
    offline: Literal["synthetic", "error"] = key("what to do without files and network", "error")
    on_error: Literal["stop", "skip"] = key("what to do when a sample cannot be read or transformed", "stop")
    max_errors: int = key("how many different samples `on_error: skip` may leave out", 10, ge=1, resume="harmless")
    transform: TransformConfig = key("what inputs go through", TransformConfig())
    target_transform: ComponentOrOff = key("what targets go through", None, registry="FUNCTIONS TRANSFORMS")
    keys: SampleKeysConfig = key("what of a sample is the input, and what the target", SampleKeysConfig())
    loader: LoaderConfig = key("how samples become batches", LoaderConfig())

    @property
    def valid_sets(self) -> dict[str, Component | float | int | str]:
        """By name; the usual single one is named ""."""
        return by_name(self.valid)

    @property
    def test_sets(self) -> dict[str, Component]:
        """By name; the usual single one is named "". Of `auto` none: the dataset's class decides that."""
        return {} if self.test == "auto" else by_name(self.test)


class SaveEveryConfig(Section):
    steps: Count = key("save every so many steps", None, ge=1, resume="harmless")
    minutes: Annotated[float | None, Off] = key("save every so many minutes", None, gt=0, resume="harmless")


class ValidateEveryConfig(Section):
    epochs: int = key("validate at the end of every so many epochs", 1, ge=1)
    steps: Count = key("validate every so many steps, inside epochs", None, ge=1)


class EmaConfig(Section):
    decay: float = key("share of the old average that each step keeps", 0.999, gt=0, lt=1)


class ClipConfig(Section):
    norm: Annotated[float | None, Off] = key("largest norm of all gradients together", None, gt=0)
    value: Annotated[float | None, Off] = key("largest size of a single gradient", None, gt=0)


class TrainerConfig(Section):
    type: str = key("the name of a trainer", "Trainer", min_length=1, expected="a name")
    args: Args = key("its own arguments", {}, validate_default=True, expected="a mapping of arguments")
    epochs: int = key("how many epochs to train", ge=1)
    steps_per_epoch: Count = key("how many steps are an epoch; null: a pass over the data", None, ge=1)
    max_time: Annotated[float | None, BeforeValidator(seconds)] = key(
        "stop and save after this time",
        None,
        gt=0,
        resume="harmless",
        expected="seconds, a time such as 1h30m or 01:30:00, or off",
    )
    monitor: Annotated[str | None, Off] = key(
        "the logged value that decides which weights are best; off without validation data",
        "min val_loss",
        pattern=r"^(min|max) [^ ]+$",
        expected="min or max and a logged value, such as min val_loss, or off",
    )
    early_stop: Count = key("stop after so many evaluations without a better one", None, ge=1)
    min_delta: float = key("how much better counts as better for early_stop", 0.0, ge=0)
    save_dir: str = key("the folder of all runs", "saved", min_length=1, resume="harmless", expected="a folder")
    save_period: int = key("save at the end of every so many epochs", 1, ge=1, resume="harmless")
    save_every: SaveEveryConfig = key("save inside epochs, too", SaveEveryConfig())
    keep: int = key("how many saves to keep, beside the best", 3, ge=1, resume="harmless")
    keep_every: Count = key("keep for good the save of every so many epochs", None, ge=1, resume="harmless")
    validate_every: ValidateEveryConfig = key("when to validate", ValidateEveryConfig())
    accumulate: int = key("how many batches make a step", 1, ge=1, resume="epoch_end")
    clip: ClipConfig = key("bounds of the gradients", ClipConfig())
    precision: Literal["fp32", "bf16", "fp16", "fp64"] = key("the number format of the forward pass", "fp32")
    ema: Annotated[EmaConfig | None, Off] = key(
        "evaluate and keep an exponential moving average of the weights", None, resume="impossible"
    )
    check_gradients: Count = key("look at the gradients every so many steps; null: at each log and save", None, ge=1)
    non_finite: Literal["stop", "skip", "ignore"] = key("what to do when the loss or a gradient is NaN or inf", "stop")
    max_skipped: int = key("how many steps in a row `non_finite: skip` may leave out", 10, ge=1)
    compile: bool = key("compile the models: a slow first step, then faster ones; other bits", False)
    overfit_batches: Count = key(
        "learn from the first so many batches alone, again and again: a model that cannot will learn nothing",
        None,
        ge=1,
        resume="epoch_end",
    )
    test_at_end: bool = key("test the best weights at the end", False)
    log_every: int = key("steps from one log of step values to the next", 50, ge=1)
    verbosity: int = key("0: warnings, 1: a line an epoch, 2: all", 2, ge=0, le=2, resume="harmless")
    tensorboard: bool = key("write event files for TensorBoard", True, resume="harmless")


class OptionConfig(Section):
    flags: Annotated[list[Annotated[str, Field(pattern=r"^--?[A-Za-z][\w-]*$")]], AfterValidator(freeze)] = key(
        "what may be written on the command line", expected="a list of flags such as --dropout"
    )
    target: str = key(
        "the key that they set",
        pattern=r"^[^.;=\s]+([.;][^.;=\s]+)*$",
        expected="a path such as model.args.dropout, its parts with '.' or ';' between them",
    )
    type: str | None = key("pytorch-template's: values are read as YAML", None)


Options = Annotated[dict[str, OptionConfig], AfterValidator(freeze)]


class Settings(Section):
    name: str = key(
        "the experiment's name, and its folder's in trainer.save_dir",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        expected="letters, digits, '.', '_' and '-', beginning with a letter or digit",
    )
    seed: int = key(
        "of weights, order and augmentation",
        0,
        ge=0,
        lt=2**63,
        resume="epoch_end",
        expected="a whole number from 0 to 2**63 - 1",
    )
    device: str = key(
        "where to train; auto: cuda, else mps, else cpu",
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        expected="auto, cpu, mps, cuda or cuda:1",
    )
    n_gpu: int | None = key("pytorch-template's: how many GPUs; 0: the cpu", None, ge=0)
    threads: int | None = key("threads of torch on the CPU; null: as torch decides", None, ge=1)
    init_from: Annotated[str | None, Off] = _weights("whose weights a new run begins with")
    plugins: tuple[str, ...] = key(
        "modules that register names", (), strict=False, resume="harmless", expected="a list of names"
    )
    project: Args = key("keys of your own", {}, validate_default=True, expected="a mapping")
    data: DataConfig = key("datasets, transforms, loading")
    model: Models = key("the network, or several by name", resume="impossible", expected=OR_NAMED, registry="MODELS")
    loss: Losses = key("what is minimised, or several by name", expected=OR_NAMED, registry="LOSSES")
    metrics: Annotated[tuple[MetricConfig, ...], Empty, Field(strict=False)] = key(
        "what is measured beside the loss", (), registry="METRICS"
    )
    optimizer: Optimizers = key("the optimizer, or several by name", expected=OR_NAMED, registry="OPTIMIZERS")
    lr_scheduler: Annotated[Schedules | None, Off] = key(
        "the schedule of the learning rate or a chain of them, for all optimizers or by the name of each",
        None,
        expected="a schedule, a list of them, names of optimizers with one of these each, or off",
        registry="SCHEDULERS",
    )
    trainer: TrainerConfig = key("how long and how to train, save and log", registry="TRAINERS")
    callbacks: Components = key("observers of the run", (), resume="harmless", registry="CALLBACKS")
    options: Options = key(
        "further flags of the command line, each under a name", {}, validate_default=True, resume="harmless"
    )

    @model_validator(mode="before")
    @classmethod
    def _nothing_to_monitor(cls, values: Any) -> Any:
        """Without validation data the default of `trainer.monitor` is off."""
        data, trainer = values.get("data"), values.get("trainer")
        if isinstance(data, dict) and isinstance(trainer, dict) and data.get("valid") in (None, "off", False):
            return {**values, "trainer": {"monitor": None, **trainer}}
        return values

    @property
    def models(self) -> dict[str, ModelConfig]:
        """By name; the usual single one is named `model`, as losses are `loss` and optimizers `optimizer`."""
        return by_name(self.model, "model")

    @property
    def losses(self) -> dict[str, LossConfig]:
        return by_name(self.loss, "loss")

    @property
    def optimizers(self) -> dict[str, OptimizerConfig]:
        return by_name(self.optimizer, "optimizer")

    @property
    def schedules(self) -> dict[str, tuple[SchedulerConfig, ...]]:
        """The chain of schedules of each optimizer by its name: of none, one, or more links."""
        whole = self.lr_scheduler
        chains = {name: whole.get(name) if isinstance(whole, dict) else whole for name in self.optimizers}
        return {name: (c,) if isinstance(c, SchedulerConfig) else c or () for name, c in chains.items()}

    @property
    def picks_targets(self) -> bool:
        """True if a loss or a metric says which part of the target it looks at."""
        losses = [term for loss in self.losses.values() for term in (loss, *loss.terms.values())]
        return any(named.target is not None for named in (*losses, *self.metrics))

    def place(self, section: str, name: str) -> str:
        """Where the component of that name stands: `model`, of several `model.generator`."""
        return f"{section}.{name}" if isinstance(getattr(self, section), dict) else section
