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
    """Its class and what it is for, as messages name it: `FashionMNIST (train)`."""
    size: int | None
    """Samples in one pass over the data; None of a stream that does not say so."""
    batch_size: int
    workers: int | None
    """Processes that read the data beside this one; None if there is nothing left to read."""

    def __len__(self) -> int:
        """Batches in one pass. ConfigError of a stream that does not say how many samples it has."""

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        """The batches of one pass from batch `start` on; nothing is read to get there."""


def batches_in(loader: Loader) -> int | None:
    """Batches in one pass; None where only reading them would tell."""
    return None if loader.size is None else len(loader)


class TrainingLoader(Loader, Protocol):
    """A loader of which a run that is resumed may ask the rest of a pass."""

    def state_dict(self) -> dict[str, Any]:
        """Where a stream stands. Empty, as here, where pass and batch say it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What `state_dict` gave: `batches` may go on from there."""
        return


@dataclass(frozen=True)
class SetFacts:
    """What is known of a dataset without reading it from a disk."""

    kind: str
    """The class of it: `FashionMNIST`."""
    input: str
    """The first sample's input in words, before all transforms: `1x28x28 uint8`; empty if nothing was read yet."""
    low: float | None
    high: float | None
    """The range of all inputs, where the set is held in memory."""
    class_counts: tuple[int, ...]
    """Samples of each class; empty where that is not known."""


class DataSets(Protocol):
    """Everything a run learns from and is judged by."""

    train: TrainingLoader
    valid: dict[str, Loader]
    """Validation sets by name; the usual single one is named "" and logs as `val_loss`, others as `val_<name>_loss`."""
    test: dict[str, Loader]
    facts: Mapping[str, Any]
    """What `${data.num_classes}` and the like stand for, by name."""
    decisions: Mapping[str, Any]
    """Plain values decided once and kept on resume: in memory or not, real or synthetic, fingerprints."""
    split: Mapping[str, Tensor]
    """int64 indices of the training and validation part, empty when nothing was split."""

    def components(self) -> Mapping[str, Any]:
        """Datasets, transforms and samplers that may change as they are read, by path: `data.train.dataset`."""

    def about(self) -> Mapping[str, SetFacts]:
        """By label: `train`, `valid`, `valid_<name>`, `test`, `test_<name>`."""


class EventWriter(Protocol):
    """TensorBoard, in SummaryWriter's words."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None: ...
    def add_text(self, tag: str, text_string: str, global_step: int) -> None: ...
    def add_image(self, tag: str, img_tensor: Any, global_step: int, dataformats: str = "CHW") -> None: ...
    def add_histogram(self, tag: str, values: Any, global_step: int) -> None: ...
    def add_graph(self, nodes: Sequence[Any]) -> None: ...
    def add_png(self, tag: str, data: bytes, global_step: int) -> None: ...
    def add_figure(self, tag: str, figure: Any, global_step: int) -> None: ...


class RunLog(Protocol):
    """Where a run's numbers go: console, train.log, metrics.jsonl, TensorBoard."""

    writer: EventWriter

    def begin_phase(self, title: str, total: int, start: int = 0) -> None:
        """`total` batches follow, the first `start` of them are done already."""

    def advance(self, read: Callable[[], Mapping[str, float]]) -> None:
        """One more batch is done. `read` costs a wait for the device: it is called only when something is drawn."""

    def end_phase(self) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """To TensorBoard only."""

    def row(self, row: Mapping[str, Any], improved: bool = False) -> None:
        """One epoch, or one evaluation inside an epoch."""

    def end(self, reason: str) -> None:
        """Why the run is over, as the last row of metrics.jsonl."""

    def flush(self) -> dict[str, int]:
        """Everything so far handed to the operating system; the length in bytes of each file, by name."""

    def sync(self) -> None:
        """Everything flushed so far forced to the disk."""

    def close(self) -> None: ...


# What a class may offer beyond what it must have. Whoever asks uses isinstance: no base class is needed.


@runtime_checkable
class NamesSupplied(Protocol):
    """A component that says itself which parameters of its constructor the program fills in; no config may set them."""

    supplied_by_program: ClassVar[tuple[str, ...]]


@runtime_checkable
class WrapsLoader(Protocol):
    """A loader around one of the project's own, which knows nothing of `data.loader`."""

    wrapped: Any


@runtime_checkable
class SplitsValidation(Protocol):
    """A project's own loader of training data that sets a validation part aside."""

    def split_validation(self) -> Any:
        """A DataLoader of that part; None if there is none."""


@runtime_checkable
class SplitsTest(Protocol):
    """The same for a test part."""

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
    """N whole numbers: a list, array or tensor; None if they are not known."""


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
    """Token numbers are below it; `${data.vocab_size}`."""


@runtime_checkable
class Overlaps(Protocol):
    """A dataset that says whether its samples share data, such as windows of one series."""

    overlapping: bool
    """True if no part may be drawn from it by lot."""


@runtime_checkable
class Learns(Protocol):
    """A training dataset from which something is learned before training, such as a vocabulary."""

    def learn(self, indices: list[int]) -> Any:
        """Plain values, from these samples alone; kept by the run and by all who resume or test it."""


@runtime_checkable
class UsesLearned(Protocol):
    """A dataset that is given what the training dataset learned."""

    def use(self, learned: Any) -> None: ...


@runtime_checkable
class Collates(Protocol):
    """A dataset that makes its own batches."""

    def collate(self, samples: list[Any]) -> Any:
        """One batch of these samples."""


@runtime_checkable
class FollowsPasses(Protocol):
    """A stream whose order depends on the pass."""

    def set_epoch(self, epoch: int) -> None:
        """Called before each pass with its number, from 0."""


@runtime_checkable
class Stateful(Protocol):
    """A stream that can continue where it stood."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any) -> None: ...


@runtime_checkable
class DrawsNumbers(Protocol):
    """A transform of whole batches that draws random numbers."""

    draws: int
    """Uniform numbers that one sample needs."""


@runtime_checkable
class Updates(Protocol):
    """A metric with a state of its own; anything else is a function whose scores are averaged."""

    def update(self, output: Any, target: Any) -> None:
        """Takes in one batch, detached from the graph."""


@runtime_checkable
class SharesCounts(Protocol):
    """A metric that can read what another metric of the same outputs and targets counts."""

    counted: Any
    """Metrics share if this is equal: it names what they count."""

    def share(self, first: Any) -> None:
        """Counts nothing from here on, and computes from the counts of `first`."""


@runtime_checkable
class ChoosesState(Protocol):
    """A metric of torchmetrics, which keeps its state out of `state_dict` unless told otherwise."""

    def persistent(self, mode: bool) -> None: ...


@runtime_checkable
class CountsUpdates(Protocol):
    """A metric of torchmetrics whose value depends on the number of updates, such as a running mean."""

    window: int


@runtime_checkable
class Unpacks(Protocol):
    """A trainer that says what of a batch is the model's input and what the target."""

    def unpack(self, batch: Any) -> tuple[Any, Any]: ...
