"""Texts as samples: words are numbered by a vocabulary that is learned from the training texts, once for a run."""

from __future__ import annotations

import random
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from base.registry import DATASETS

PADDING, UNKNOWN = 0, 1
"""Numbers that stand for no word."""


def words_of(text: str) -> list[str]:
    """In lower case, without punctuation."""
    return re.findall(r"\w+", text.lower())


class Texts(Dataset[dict[str, Any]], ABC):
    """Samples are dicts with a `text` and a `label`, an int; a batch holds `tokens`, int64 (B, longest text) with
    PADDING behind the shorter ones, and `label`, int64 (B,).

    `learn` and `use` are called by the program: the vocabulary comes from the training texts, is saved with the run,
    and is given to every set. A word that it lacks is UNKNOWN.
    """

    def __init__(self, most_words: int = 10_000) -> None:
        self.most_words = most_words
        self.numbers: dict[str, int] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> dict[str, Any]: ...

    @property
    def vocab_size(self) -> int:
        """With the two numbers that are no words."""
        return len(self.numbers) + 2

    def learn(self, indices: Sequence[int]) -> list[str]:
        """The words of these texts, the most frequent first."""
        counts = Counter(word for index in indices for word in words_of(self[index]["text"]))
        return sorted(counts, key=lambda word: (-counts[word], word))[: self.most_words]

    def use(self, vocabulary: Sequence[str]) -> None:
        self.numbers = {word: number for number, word in enumerate(vocabulary, start=2)}

    def collate(self, samples: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        texts = [[self.numbers.get(word, UNKNOWN) for word in words_of(sample["text"])] for sample in samples]
        longest = max(1, *map(len, texts))
        return {
            "tokens": torch.tensor([text + [PADDING] * (longest - len(text)) for text in texts]),
            "label": torch.tensor([sample["label"] for sample in samples]),
        }


@DATASETS.register
class SyntheticReviews(Texts):
    """Sentences on films, drawn by the project: what is said last counts, and a `not` turns it round, so that the words
    alone do not tell praise (1) from blame (0). `train: false` draws other sentences, with some words of their own.
    """

    classes = ("blame", "praise")
    subjects = (
        "the film",
        "the plot",
        "the music",
        "this story",
        "the acting",
        "the ending",
        "every scene",
        "the cast",
    )
    praise = ("wonderful", "gripping", "funny", "brilliant", "moving", "clever", "charming", "great")
    blame = ("dull", "tiresome", "shallow", "awful", "clumsy", "boring", "empty", "weak")
    degrees = ("", "really", "quite", "rather", "truly", "very")
    rare = ("frankly", "sadly", "happily", "honestly", "admittedly")

    def __init__(self, size: int = 2000, train: bool = True, seed: int = 0, most_words: int = 10_000) -> None:
        super().__init__(most_words)
        dice = random.Random(f"{seed} {train}")
        self.samples = [self._draw(dice, train) for _ in range(size)]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return dict(self.samples[index])

    def _draw(self, dice: random.Random, train: bool) -> dict[str, Any]:
        clauses, label = [], 0
        for _ in range(dice.randint(1, 3)):
            label, turned = dice.randint(0, 1), dice.random() < 0.3
            adjective = dice.choice(self.praise if label != turned else self.blame)
            parts = (dice.choice(self.subjects), "was", "not" if turned else "", dice.choice(self.degrees), adjective)
            clauses.append(" ".join(filter(None, parts)))
        opening = "" if train or dice.random() < 0.5 else f"{dice.choice(self.rare)}, "
        return {"text": (opening + ", but ".join(clauses) + ".").capitalize(), "label": label}
