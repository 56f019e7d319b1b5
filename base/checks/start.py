"""What a start prints and checks around the building of a trainer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from base.checks import summary
from base.checks.preflight import Preflight, ShapeProbe
from base.errors import Fault

if TYPE_CHECKING:
    from base.build import Builder
    from base.loop.base_trainer import BaseTrainer
    from base.loop.components import TrainerComponents

log = logging.getLogger(__name__)


class StartChecks:
    """Prints the data at once; `watching` observes the trainer's first batch; `report` prints and checks the rest."""

    def __init__(self, builder: Builder) -> None:
        self.builder, self.preflight = builder, Preflight(builder)
        _log_lines(summary.of_data(builder))

    @contextmanager
    def watching(self, components: TrainerComponents) -> Iterator[None]:
        with ShapeProbe(components.models) as self.seen, self.preflight.watching(components):
            yield

    def report(self, trainer: BaseTrainer, try_training: bool = False) -> list[Fault]:
        """Returns the warnings, with `try_training` after a training batch forward and back; ConfigError for faults."""
        _log_lines(summary.of_training(self.builder, trainer, self.seen))
        self.preflight.look(trainer)
        if try_training:
            _log_lines(summary.of_layers(trainer))
            self.preflight.try_training(trainer)
        self.preflight.tell()
        return self.preflight.warnings


def _log_lines(lines: Iterable[str]) -> None:
    for line in lines:
        log.info("%s", line)
