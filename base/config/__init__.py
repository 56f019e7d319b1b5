"""The config of a run: read from files and overrides, checked as a whole, read-only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.config.document import ALIASES, Document, Source, freeze, from_plain
from base.config.reader import read_files, to_yaml
from base.errors import DEFAULT, ConfigError, Fault, Origin

if TYPE_CHECKING:
    from base.config.keys import Settings

Overrides = Sequence[str] | Mapping[str, Any]


class Config(Mapping[str, Any]):
    """Everything that decides a run, read-only.

    `config.settings` has every key with its type; `config["trainer"]["epochs"]` gives plain values. Keys under
    `project` can also be read at the top level, and `arch` and `data_loader` mean `model` and `data.train`, as in
    pytorch-template. `notes` are lines for the user.
    """

    def __init__(
        self,
        document: Document,
        settings: Settings,
        source: str,
        of_run: bool,
        notes: Sequence[str] = (),
    ) -> None:
        self.settings, self.source, self.of_run, self.notes = settings, source, of_run, notes
        self._document, values = document, self.to_dict()
        self._values = freeze(_laid_under(values, values["project"]))

    @classmethod
    def read(
        cls, path: str | Path, overrides: Overrides = (), *, plugins: Iterable[str] = (), of_run: bool = False
    ) -> Config:
        """The config of a YAML or JSON file with overrides: `key.path=value` texts (`--lr=0.1` is one, too), or a
        mapping of such paths to values. `plugins` are modules that the command line allows in addition to the
        project's; they are added to the config's own `plugins`. `of_run`: the file is a run's own, whose lengths may
        contradict each other, because the command line may have changed some.

        Raises ConfigError with every fault that the texts, the sections, the registries and the signatures show.
        """
        faults: list[Fault] = []
        files = read_files(Path(path), faults)
        if files is None:
            raise ConfigError(faults, str(path))
        return cls._checked(files, overrides, faults, str(path), plugins, of_run)

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
        given = from_plain(values, Origin(source), faults)
        return cls._checked([given], overrides, faults, source, plugins, True)

    @classmethod
    def _checked(
        cls,
        files: Sequence[Document],
        overrides: Overrides,
        faults: list[Fault],
        source: str,
        plugins: Iterable[str],
        of_run: bool,
    ) -> Config:
        # Imported here because these need pydantic: an unreadable file is reported without it.
        from base.config import cross_checks, layers, plausibility, references, validate

        notes: list[str] = []
        document = layers.merge_files(files, faults, notes)
        layers.apply_overrides(document, overrides, faults)
        layers.add_plugins(document, plugins)
        layers.remove_nulls(document)
        references.resolve(document, faults)
        settings, wrong = validate.check_sections(document)
        if not of_run:
            wrong += [found for found in plausibility.check_lengths(document) if not found.is_warning]
        wrong += [*cross_checks.check_together(document), *validate.check_code(document, plugins)]
        unread = {(fault.origin, fault.key) for fault in faults}  # these have no value, which is not a second fault
        wrong = [fault for fault in wrong if (fault.origin, fault.key) not in unread]
        if not faults and not wrong:
            wrong = validate.check_logged(document)  # of a config with faults it would tell consequences
        faults += wrong
        if faults or settings is None:
            raise ConfigError((_with_file_key(fault, notes) for fault in faults), source)
        return cls(document, settings, source, of_run, notes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values: components as `{type, args}`, `${facts}` kept, and every default that means something."""
        values = self.settings.model_dump(mode="json")
        loader = values["data"]["loader"]
        for decider, decided in self.settings.data.loader.DECIDES.items():
            for name in decided if loader.get(decider) else ():
                loader.pop(name, None)
        return values

    def to_yaml(self) -> str:
        """`to_dict` as a YAML text that reads back as an equal config."""
        return to_yaml(self.to_dict())

    def origin(self, key: str) -> Origin:
        """Where the value at `key` (`optimizer.args.lr`) was written, or `default`."""
        source = self.written(key)
        return source.origin if source else DEFAULT

    def written(self, key: str) -> Source | None:
        """Where and how the value at `key` was written and what it overrode; None if nothing was."""
        return self._document.sources.get(self._document.path(key))

    def fault(self, key: str, what: str, found: str = "", expected: str = "", hint: str = "") -> Fault:
        """A fault at the place of `key`, or of the nearest section above that was written."""
        origin = self._document.nearest(self._document.path(key)).origin
        return _with_file_key(Fault(origin, key, what, found, expected, hint), self.notes)

    def error(self, key: str, what: str, found: str = "", expected: str = "", hint: str = "") -> ConfigError:
        """The error with this one fault."""
        return ConfigError([self.fault(key, what, found, expected, hint)], self.source)

    def judged(
        self, steps: int | None = None, batches: int | None = None, sizes: Mapping[str, int] | None = None
    ) -> list[Fault]:
        """The faults of lengths, and every warning, in a run of so many optimizer `steps`, whose epochs have so many
        `batches` and whose validation sets these `sizes`; without them what can be told all the same. None of a run
        that goes on: it was judged at its start.
        """
        if self.of_run:
            return []
        from base.config.plausibility import check_lengths, doubts

        found = [*check_lengths(self._document, steps, batches), *doubts(self._document, sizes or {})]
        return [_with_file_key(fault, self.notes) for fault in found]

    def placed(self, faults: Iterable[Fault]) -> ConfigError:
        """A ConfigError of faults that name keys only, with the origins of the keys filled in."""
        return ConfigError((replace(fault, origin=self.fault(fault.key, "").origin) for fault in faults), self.source)

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        value: Any = self._values
        for part in ALIASES.get(key, (key,)):
            value = value[part]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Config({self.settings.name!r} from {self.source})"


def _with_file_key(fault: Fault, notes: Sequence[str]) -> Fault:
    """The fault; for a config in pytorch-template's shape, which has notes, with the key as the file names it."""
    if not notes:
        return fault
    from base.legacy.config_file import in_their_words

    return in_their_words(fault)


def _laid_under(values: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with the project's own keys added where the file had them."""
    merged = dict(values)
    for key, value in own.items():
        if key not in merged:
            merged[key] = value
        elif isinstance(merged[key], Mapping) and isinstance(value, Mapping) and key != "project":
            merged[key] = _laid_under(merged[key], value)
    return merged
