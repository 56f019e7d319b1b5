"""The `config` that a trainer written for pytorch-template is given."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from base.config import Config
    from base.template.epoch_trainer import EpochTrainer

_LEVELS = {0: logging.WARNING, 1: logging.INFO, 2: logging.DEBUG}


class TemplateConfig(Mapping[str, Any]):
    """Reads as the run's config, `config["trainer"]["epochs"]`, with the names that ConfigParser has. It is read-only:
    what was decided when the run began holds for all of it.
    """

    def __init__(self, config: Config, run: EpochTrainer) -> None:
        self.config, self.run = config, run
        self.resume: Path | None = None

    def __getitem__(self, key: str) -> Any:
        return self.config[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.config)

    def __len__(self) -> int:
        return len(self.config)

    @property
    def save_dir(self) -> Path:
        """The run's folder, which is `log_dir`, too."""
        return self.run.folder

    @property
    def log_dir(self) -> Path:
        return self.run.folder

    def get_logger(self, name: str, verbosity: int = 2) -> logging.Logger:
        """Writes to the console and train.log; `verbosity` 2 with details, 1 without, 0 warnings only."""
        logger = logging.getLogger(name)
        logger.setLevel(_LEVELS[verbosity])
        return logger
