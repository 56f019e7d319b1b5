"""A config: read from files and overrides, checked as a whole, then fixed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.config.frozen import freeze
from base.config.layers import Overrides, add_plugins, apply_overrides, in_our_shape, read_layers
from base.config.nodes import Node, Place, from_plain
from base.config.template_shape import RENAMED, in_their_words, readable
from base.errors import DEFAULT, ConfigError, Fault, Origin

if TYPE_CHECKING:
    from base.config.sections import Settings


class Config(Mapping[str, Any]):
    """Everything that decides a run, read-only.

    `config.settings` has every key with its type, `config["trainer"]["epochs"]` reads the same as plain values. What
    stands under `project` reads without that word, too, and `arch` and `data_loader` are other names of `model` and
    `data.train`, as in pytorch-template. `notes` are lines for the user.
    """

    def __init__(self, tree: Node, settings: Settings, source: str, of_run: bool, notes: Sequence[str] = ()) -> None:
        self.settings, self.source, self.of_run, self.notes = settings, source, of_run, notes
        self._tree = tree
        self._values = freeze(readable(self.to_dict()))

    @classmethod
    def read(
        cls, path: str | Path, overrides: Overrides = (), *, plugins: Iterable[str] = (), of_run: bool = False
    ) -> Config:
        """The config of a YAML or JSON file with overrides: `key.path=value` texts (`--lr=0.1` is one, too), or a
        mapping of such paths to values. `plugins` are modules that the command line allows in addition to the
        project's; they are added to the config's own `plugins`. `of_run`: the file is a run's own, whose lengths may
        contradict each other, for the command line had its say in them.

        Raises ConfigError with every fault that the texts, the sections, the registries and the signatures show.
        """
        faults: list[Fault] = []
        notes: list[str] = []
        tree = read_layers(Path(path), faults, notes)
        return cls._checked(tree, overrides, faults, str(path), plugins, of_run, notes)

    @classmethod
    def from_dict(
        cls,
        values: Mapping[str, Any],
        source: str = "checkpoint",
        overrides: Overrides = (),
        *,
        plugins: Iterable[str] = (),
    ) -> Config:
        """The config that `to_dict` gave, or one put together in code; raises ConfigError as `read` does."""
        faults: list[Fault] = []
        notes: list[str] = []
        (tree,) = in_our_shape([from_plain(values, Origin(source), faults)], faults, notes)
        return cls._checked(tree, overrides, faults, source, plugins, True, notes)

    @classmethod
    def _checked(
        cls,
        tree: Node | None,
        overrides: Overrides,
        faults: list[Fault],
        source: str,
        plugins: Iterable[str],
        of_run: bool,
        notes: Sequence[str] = (),
    ) -> Config:
        if tree is None:
            raise ConfigError(faults, source)
        from base.config.contradictions import check_together
        from base.config.lengths import check_lengths
        from base.config.validate import check_sections, without_removed

        tree = without_removed(add_plugins(apply_overrides(tree, overrides, faults), plugins))
        settings, wrong = check_sections(tree)
        lengths = [] if of_run else check_lengths(tree)
        if notes:  # a template's file runs there as it stands, and so it does here
            lengths, notes = [], [*notes, *map(str, lengths)]
        wrong += [*check_together(tree), *lengths, *_check_code(tree, plugins)]
        unread = {(fault.origin, fault.key) for fault in faults}  # left without a value, which is no second fault
        faults += [fault for fault in wrong if (fault.origin, fault.key) not in unread]
        if faults or settings is None:
            raise ConfigError(map(in_their_words, faults) if notes else faults, source)
        return cls(tree, settings, source, of_run, notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: components as `{type, args}`, `${facts}` kept, and every default that means something."""
        from base.config.contradictions import DECIDES

        values = self.settings.model_dump(mode="json")
        loader = values["data"]["loader"]
        for name in [name for decider, names in DECIDES.items() if loader[decider] for name in names]:
            loader.pop(name, None)
        return values

    def to_yaml(self) -> str:
        """`to_dict` as a YAML text that reads back as an equal config."""
        from base.config.yaml_writer import to_yaml

        return to_yaml(self.to_dict())

    def origin(self, key: str) -> Origin:
        """Where the value at `key` (`optimizer.args.lr`) was written, or `default`."""
        node = self.node(key)
        return node.origin if node else DEFAULT

    def node(self, key: str) -> Node | None:
        """What was written at `key`, with its place and what it took the place of; None if nothing was."""
        return self._tree.at(_place(key))

    def fault(self, key: str, what: str, found: str = "", expected: str = "", hint: str = "") -> Fault:
        """A fault at the place of `key`, or of the nearest section above that was written."""
        place = _place(key)
        while (node := self._tree.at(place)) is None:
            place = place[:-1]
        fault = Fault(node.origin, key, what, found, expected, hint)
        return in_their_words(fault) if self.notes else fault

    def faults_of_lengths(self, steps: int) -> list[Fault]:
        """Lengths that do not go together in a run of so many optimizer steps."""
        from base.config.lengths import check_lengths

        return [] if self.of_run or self.notes else check_lengths(self._tree, steps)

    def placed(self, faults: Iterable[Fault]) -> ConfigError:
        """What was found by those who know the keys alone, at the places of the keys."""
        return ConfigError((replace(fault, origin=self.fault(fault.key, "").origin) for fault in faults), self.source)

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        value: Any = self._values
        for part in RENAMED.get(key, (key,)):
            value = value[part]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self.settings.name!r} from {self.source})"


def _place(key: str) -> Place:
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _check_code(tree: Node, plugins: Iterable[str]) -> list[Fault]:
    """What only the code behind the names can tell; this imports torch."""
    from base.config.components import check_components, load_plugins
    from base.config.contradictions import check_monitor
    from base.config.places import named
    from base.registry import LOSSES, TRAINERS

    faults = [*load_plugins(tree, plugins), *check_components(tree)]
    losses = [node.at(("type",)) for _, node in named(tree, "loss").values()]
    trainer = tree.at(("trainer", "type"))
    may_log_more = any(node and LOSSES.is_users(str(node.value)) for node in losses)
    may_log_more |= (trainer is not None and trainer.value != "Trainer") or TRAINERS.is_users("Trainer")
    return faults if may_log_more else [*faults, *check_monitor(tree)]
