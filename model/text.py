"""A small recurrent network for texts."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from base.registry import MODELS


@MODELS.register
class TextClassifier(nn.Module):
    """Embeddings and a GRU; the state after each text's last word decides.

    (B, T) int64 word numbers, 0 behind shorter texts -> (B, num_classes) logits.
    """

    def __init__(self, vocab_size: int, num_classes: int = 2, width: int = 32, hidden: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, width, padding_idx=0)
        self.recurrent = nn.GRU(width, hidden, batch_first=True)
        self.classifier = nn.Linear(hidden, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.recurrent(self.embedding(tokens))
        last = (tokens != 0).sum(1).clamp(min=1) - 1
        chosen = states[torch.arange(len(tokens), device=tokens.device), last]
        return self.classifier(chosen)  # type: ignore[no-any-return]
