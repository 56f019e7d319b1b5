"""The interfaces between the four sibling packages, which exchange objects and never import each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class Loader(Protocol):
    """Batches of one dataset, transformed and on the device."""

    name: str
    """The name used in messages, with the dataset's class and purpose: `FashionMNIST (train)`."""
    size: int | None
    """Samples in one pass over the data; None for a stream without a length."""
    batch_size: int
    workers: int | None
    """The number of worker processes that read the data; None if all data is in memory."""

    def __len__(self) -> int:
        """The number of batches in one pass. ConfigError for a stream without a length."""

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on; earlier batches are not read."""


def batches_in(loader: Loader) -> int | None:
    """The number of batches in one pass; None for a stream without a length."""
    return None if loader.size is None else len(loader)


class TrainingLoader(Loader, Protocol):
    """A loader that can continue a pass from the middle, for a resumed run."""

    def state_dict(self) -> dict[str, Any]:
        """The position in a stream. Empty, as here, if pass and batch determine the position."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores the position that `state_dict` returned; `batches` continues from there."""
        return


@dataclass(frozen=True)
class SetFacts:
    """What is known about a dataset without reading it from a disk."""

    kind: str
    """Its class: `FashionMNIST`."""
    input: str
    """A description of the first sample's input, before all transforms: `1x28x28 uint8`; empty if nothing was read."""
    low: float | None
    high: float | None
    """The range of all inputs, if the dataset is held in memory."""
    class_counts: tuple[int, ...]
    """The number of samples of each class; empty if unknown."""


class DataSets(Protocol):
    """The training, validation and test data of a run."""

    train: TrainingLoader
    valid: dict[str, Loader]
    """Validation sets by name; the usual single one is named "" and logs as `val_loss`, others as `val_<name>_loss`."""
    test: dict[str, Loader]
    facts: Mapping[str, Any]
    """The values of references such as `${data.num_classes}`, by name."""
    decisions: Mapping[str, Any]
    """Plain values that are decided once and kept on a resume: in memory or not, real or synthetic, fingerprints."""
    split: Mapping[str, Tensor]
    """int64 indices of the training and validation parts; empty if nothing was split."""

    def components(self) -> Mapping[str, Any]:
        """Datasets, transforms and samplers whose state may change during reading, by path: `data.train.dataset`."""

    def about(self) -> Mapping[str, SetFacts]:
        """Facts by label: `train`, `valid`, `valid_<name>`, `test`, `test_<name>`."""


class EventWriter(Protocol):
    """A TensorBoard writer with the method names of torch's SummaryWriter."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def add_text(self, tag: str, text_string: str, global_step: int) -> None: ...
    def add_image(self, tag: str, img_tensor: Any, global_step: int, dataformats: str = "CHW") -> None: ...
    def add_histogram(self, tag: str, values: Any, global_step: int) -> None: ...
    def add_graph(self, nodes: Sequence[Any]) -> None: ...
    def add_png(self, tag: str, data: bytes, global_step: int) -> None: ...
    def add_figure(self, tag: str, figure: Any, global_step: int) -> None: ...


class RunLog(Protocol):
    """Records a run's numbers: console, train.log, metrics.jsonl, TensorBoard."""

    writer: EventWriter

    def begin_phase(self, title: str, total: int, start: int = 0) -> None:
        """`total` batches follow, of which the first `start` are already done."""

    def advance(self, read: Callable[[], Mapping[str, float]]) -> None:
        """One more batch is done. `read` has to wait for the device, so it is called only when something is drawn."""

    def end_phase(self) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Logs values to TensorBoard only."""

    def row(self, row: Mapping[str, Any], improved: bool = False) -> None:
        """Logs one epoch, or one evaluation inside an epoch."""

    def end(self, reason: str) -> None:
        """Writes why the run ended, as the last row of metrics.jsonl."""

    def flush(self) -> dict[str, int]:
        """Hands everything written so far to the operating system. Returns each file's length in bytes, by name."""

    def sync(self) -> None:
        """Forces everything flushed so far to the disk."""

    def close(self) -> None: ...


# Optional abilities of components. They are tested with isinstance, so a class needs no base class to have one.


@runtime_checkable
class NamesSupplied(Protocol):
    """A component that lists the constructor parameters that the program fills in; a config must not set them."""

    supplied_by_program: ClassVar[tuple[str, ...]]


@runtime_checkable
class WrapsLoader(Protocol):
    """A loader that wraps one of the project's own loaders, which ignores `data.loader`."""

    wrapped: Any


@runtime_checkable
class SplitsValidation(Protocol):
    """A project's own training loader that splits off a validation part."""

    def split_validation(self) -> Any:
        """A DataLoader of the validation part; None if there is none."""


@runtime_checkable
class SplitsTest(Protocol):
    """A project's own training loader that splits off a test part."""

    def split_test(self) -> Any: ...


@runtime_checkable
class HasTensors(Protocol):
    """A dataset that fits into memory."""

    def as_tensors(self) -> Tensor | tuple[Tensor, ...]:
        """All inputs (N, ...), or inputs and targets (N, ...), aligned on dimension 0."""


@runtime_checkable
class HasTargets(Protocol):
    """A dataset that knows the class numbers of its samples without reading them."""

    targets: Any
    """N integers in a list, array or tensor; None if unknown."""


@runtime_checkable
class HasClasses(Protocol):
    """A dataset that knows the names of its classes."""

    classes: Sequence[Any] | None
    """In the order of the class numbers."""


@runtime_checkable
class NumbersClasses(Protocol):
    """A dataset of named classes that can number them in another order."""

    def number_classes(self, names: Sequence[str]) -> None:
        """Changes `classes` to `names`, among which all its own are, and the targets with them."""


@runtime_checkable
class HasVocabulary(Protocol):
    """A dataset of token numbers."""

    vocab_size: int
    """All token numbers are below this; configs refer to it as `${data.vocab_size}`."""


@runtime_checkable
class Overlaps(Protocol):
    """A dataset that says whether its samples share data, such as windows of one series."""

    overlapping: bool
    """True if the samples must not be split at random."""


@runtime_checkable
class Learns(Protocol):
    """A training dataset that computes something before training, such as a vocabulary."""

    def learn(self, indices: list[int]) -> Any:
        """Returns plain values computed from these samples only. The run saves them for resumes and tests."""


@runtime_checkable
class UsesLearned(Protocol):
    """A dataset that needs the values that the training dataset learned."""

    def use(self, learned: Any) -> None: ...


@runtime_checkable
class Collates(Protocol):
    """A dataset that assembles its own batches."""

    def collate(self, samples: list[Any]) -> Any:
        """Returns these samples as one batch."""


@runtime_checkable
class FollowsPasses(Protocol):
    """A stream whose order depends on the pass."""

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass with its number, counted from 0."""


@runtime_checkable
class Stateful(Protocol):
    """A stream that can continue from a saved position."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> None: ...


@runtime_checkable
class DrawsNumbers(Protocol):
    """A transform of whole batches that draws random numbers."""

    draws: int
    """The number of uniform random numbers that each sample needs."""


@runtime_checkable
class Updates(Protocol):
    """A metric with its own state; any other metric is a function whose scores are averaged."""

    def update(self, output: Any, target: Any) -> None:
        """Adds one batch, which is detached from the graph."""


@runtime_checkable
class SharesCounts(Protocol):
    """A metric that can reuse the counts of another metric of the same outputs and targets."""

    counted: Any
    """Identifies what is counted; metrics with equal values share their counts."""

    def share(self, first: Any) -> None:
        """From now on, computes from the counts of `first` instead of counting itself."""


@runtime_checkable
class ChoosesState(Protocol):
    """A metric of torchmetrics, whose `state_dict` is empty unless `persistent(True)` is called."""

    def persistent(self, mode: bool) -> None: ...


@runtime_checkable
class CountsUpdates(Protocol):
    """A metric of torchmetrics whose value depends on the number of updates, such as a running mean."""

    window: int


@runtime_checkable
class Unpacks(Protocol):
    """A trainer that splits a batch into the model's input and the target."""

    def unpack(self, batch: Any) -> tuple[Any, Any]: ...
