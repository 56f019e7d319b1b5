"""Trainers, optimizers, schedules and callbacks. Files in this folder are found automatically."""

from base.registry import CALLBACKS, OPTIMIZERS, SCHEDULERS, TRAINERS

__all__ = ["CALLBACKS", "OPTIMIZERS", "SCHEDULERS", "TRAINERS", "Trainer"]


def __getattr__(name: str) -> object:
    if name == "Trainer":
        from trainer.supervised import Trainer

        return Trainer
    raise AttributeError(f"module 'trainer' has no attribute {name!r}")
