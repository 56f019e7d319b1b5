"""TensorBoard in the words of pytorch-template's writer: `set_step`, then `add_*` without a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from base.protocols import EventWriter


class TemplateWriter:
    """`event_writer` gives the run's writer of the moment. Scalars of a batch are tagged `loss/step`, of a batch of
    validation data `loss/valid_step`, beside the epoch's `loss/train` and `loss/val`, which the run writes itself.
    """

    def __init__(self, event_writer: Callable[[], EventWriter]) -> None:
        self.event_writer = event_writer
        self.step, self.mode = 0, ""
        self.muted = False

    def set_step(self, step: int, mode: str = "train") -> None:
        self.step, self.mode = step, mode

    def add_scalar(self, tag: str, value: Any, *args: Any, **kwargs: Any) -> None:
        if not self.muted:
            kind = "step" if self.mode in ("", "train") else f"{self.mode}_step"
            self.event_writer().add_scalar(f"{tag}/{kind}", float(value), self.step)

    def add_scalars(self, main_tag: str, values: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        for name, value in values.items():
            self.add_scalar(f"{main_tag}/{name}", value)

    def __getattr__(self, name: str) -> Callable[..., None]:
        """add_image, add_figure, add_text ... of the run's writer; those that it lacks do nothing, as there without
        TensorBoard."""
        if not name.startswith("add_"):
            raise AttributeError(f"the writer has no attribute {name!r}")

        def add(tag: str, data: Any, *args: Any, **kwargs: Any) -> None:
            method = getattr(self.event_writer(), name, None)
            if method is not None and not self.muted:
                place = tag if name == "add_histogram" or not self.mode else f"{tag}/{self.mode}"
                method(place, data, self.step, *args, **kwargs)

        return add
