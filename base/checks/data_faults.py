"""Tells a batch that no model takes from a model that fails: the fault is then the data's."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from base.errors import UserError
from base.evaluation.first_batches import FirstBatch
from base.loop.base_trainer import BaseTrainer
from base.protocols import Unpacks
from utils.batches import UnclearBatch

if TYPE_CHECKING:
    from base.config import Config

_ABOUT_TYPES = re.compile(
    r"\b(Byte|Char|Short|Int|Long|Bool|unsigned char|dtype|data ?type|scalar type)", re.IGNORECASE
)
_ABOUT_TEXTS = re.compile(r"\b(str|list|tuple)\b")


class SeenBatch(FirstBatch):
    """A loader of one batch, which it remembers."""

    batch: Any = None

    def batches(self, pass_: int = 0, start: int = 0) -> Iterator[Any]:
        for self.batch in super().batches(pass_, start):
            yield self.batch


def evaluated(config: Config, trainer: BaseTrainer, loader: SeenBatch) -> dict[str, float]:
    """The losses and metrics of the batch. ConfigError at the data if that is why there are none."""
    try:
        return trainer.evaluate(loader, "")
    except UserError:
        raise
    except UnclearBatch as error:
        raise config.error("data.keys", str(error)) from None
    except (RuntimeError, TypeError, AttributeError, ValueError) as error:
        input = trainer.unpack(loader.batch)[0] if isinstance(trainer, Unpacks) and loader.batch is not None else None
        text = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if isinstance(input, Tensor) and _is_integer_image(input) and _ABOUT_TYPES.search(text):
            what = f"images come to the model as whole numbers, which it does not take ({text})"
            found = f"{'x'.join(map(str, input.shape[1:]))} {str(input.dtype).removeprefix('torch.')}"
            hint = "add ToFloat to data.transform.train and data.transform.eval"
            raise config.error("data.transform", what, found, "floating point", hint) from error
        if isinstance(input, list | tuple) and _is_texts(input) and _ABOUT_TEXTS.search(text):
            what = f"texts come to the model as they are, which it does not take ({text})"
            hint = "make numbers of them: a transform in data.transform, or data.loader.collate_fn"
            raise config.error("data.transform", what, f"{input[0]!r:.40}", "tensors", hint) from error
        raise


def _is_integer_image(input: Tensor) -> bool:
    return input.dim() >= 3 and not (input.is_floating_point() or input.is_complex())


def _is_texts(input: Sequence[Any]) -> bool:
    return bool(input) and all(isinstance(text, str) for text in input)
