"""Ways to train, optimizers, schedules and callbacks. A file put here is found by itself."""

from base.registry import CALLBACKS, OPTIMIZERS, SCHEDULERS, TRAINERS

__all__ = ["CALLBACKS", "OPTIMIZERS", "SCHEDULERS", "TRAINERS", "Trainer"]


def __getattr__(name: str) -> object:
    if name == "Trainer":
        from trainer.supervised import Trainer

        return Trainer
    raise AttributeError(f"module 'trainer' has no attribute {name!r}")
